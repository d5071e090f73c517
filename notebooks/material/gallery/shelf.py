"""The weights that `train.py` made, and the models that they belong to. Every call gives a new, frozen model."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .adapters import LookAdapter, add_controlnet, add_lora, load_lora
from .painter import Painter

WEIGHTS = Path(__file__).parent / "weights"


def painter(folder: Path = WEIGHTS) -> Painter:
    """The base model: asked for a digit, it predicts the noise."""
    model = Painter()
    model.load_state_dict(_load(folder, "painter"))
    return model.requires_grad_(False).eval()


def controlnet(painter: Painter, folder: Path = WEIGHTS, kata: ModuleType | None = None) -> nn.Module:
    """The ControlNet for line drawings, in your kata's class; the painter itself stays as it is."""
    net = add_controlnet(painter, kata)
    net.load_state_dict(_load(folder, "controlnet"))
    return net.requires_grad_(False).eval()


def look_adapter(painter: Painter, folder: Path = WEIGHTS, kata: ModuleType | None = None) -> LookAdapter:
    """The IP-Adapter for looks; changes the painter's attentions into those of your kata."""
    adapter = LookAdapter(painter, kata)
    adapter.load_state_dict(_load(folder, "look_adapter"), strict=False)  # the frozen half is the painter's own
    return adapter.requires_grad_(False).eval()


def leaning_lora(painter: Painter, folder: Path = WEIGHTS, kata: ModuleType | None = None) -> nn.ModuleDict:
    """The LoRA for digits that lean back; changes the painter's linear layers into those of your kata."""
    layers = add_lora(painter, kata=kata)
    load_lora(layers, _load(folder, "leaning_lora"))
    return layers.requires_grad_(False)


def save(state: dict[str, Tensor], name: str, folder: Path, **metadata: str) -> None:
    """Writes weights in half precision, which costs these models nothing that can be measured."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {key: value.detach().to(torch.float16).contiguous() for key, value in state.items()}
    save_file(half, folder / f"{name}.safetensors", metadata)


def size(name: str, folder: Path = WEIGHTS) -> tuple[int, int]:
    """(parameters, bytes on disk) of one file of weights."""
    path = folder / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        return sum(file.get_tensor(key).numel() for key in file.keys()), path.stat().st_size  # noqa: SIM118


def metrics(folder: Path = WEIGHTS) -> dict[str, Any]:
    """What `train.py` measured when it had made the weights."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def _load(folder: Path, name: str) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(folder / f"{name}.safetensors").items()}
