"""Trains everything in the gallery and measures it: `tox -e gallery`, some minutes on one core.

Run as `python -m material.gallery.train [FOLDER]` in `notebooks/`, with the repository's root on PYTHONPATH and
KATAS_DIR at the reference: schedule, loss, moving average, dropped conditions, ControlNet, IP-Adapter and LoRA are the
katas'. `--check` trains into a temporary folder and compares the figures with those of the committed weights.
"""

import copy
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from katas.classifier_free_guidance import drop_condition
from katas.diffusion_training import ddpm_loss, ema_update

from . import shelf
from .adapters import LookAdapter, Request, add_controlnet, add_lora, leaning_back, lora_state
from .digits import Digits, load
from .measure import measure, schedule
from .measures import Look, strokes
from .painter import Painter

SEED = 0
BATCH = 128
DROPPED = 0.15  # of the conditions, for classifier-free guidance
FORTY = 4  # drawings of each digit, for the LoRA
# How far a figure may differ when another machine trains: sums come in another order, and training amplifies it.
TOLERANCE = {"loss": 0.01, "recognised": 0.06, "spread": 0.35, "nearest": 0.25, "structure": 0.06, "look": 0.12}
TOLERANCE |= {"slant": 0.08, "accuracy": 0.005}


def fit(
    parameters: Iterable[nn.Parameter],
    ask: Callable[[Digits], Request],
    digits: Digits,
    updates: int,
    rate: float,
    after: Callable[[int], None] = lambda update: None,
) -> None:
    """Minimises the katas' loss for requests that `ask` makes of random batches of digits."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, updates)
    for update in range(updates):
        batch = digits[torch.randint(len(digits), (min(BATCH, len(digits)),))]
        request = ask(batch)
        conditions = drop_condition(request.conditions, request.null, DROPPED)
        loss = ddpm_loss(lambda x, t, of=request, given=conditions: of(x, t, given), batch.images, schedule())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        after(update)
        if update % 200 == 0 or update == updates - 1:
            print(f"  update {update}: loss {loss.item():.3f}", flush=True)


def train_painter(learned: Digits) -> dict[str, Tensor]:
    model = Painter()
    average = copy.deepcopy(model)
    fit(
        model.parameters(),
        lambda batch: Request(model, batch.labels),
        learned,
        updates=2000,
        rate=3e-3,
        after=lambda update: ema_update(average, model, min(0.998, (update + 1) / (update + 10))),
    )
    return average.state_dict()


def train_controlnet(learned: Digits, folder: Path) -> dict[str, Tensor]:
    model = shelf.painter(folder)
    net = add_controlnet(model)

    def ask(batch: Digits) -> Request:
        return Request(model, batch.labels, drawing=strokes(batch.images), controlnet=net)

    fit(net.parameters(), ask, learned, updates=300, rate=2e-3)
    return net.state_dict()


def train_look_adapter(learned: Digits, folder: Path) -> dict[str, Tensor]:
    """The reference is the picture itself, as for IP-Adapter; what is told of it does not say which digit it is."""
    model = shelf.painter(folder)
    adapter = LookAdapter(model)
    look_of = Look(learned)

    def ask(batch: Digits) -> Request:
        return Request(model, batch.labels, look=look_of(batch.images, batch.labels), adapter=adapter)

    fit((parameter for _, parameter in adapter.new_parameters()), ask, learned, updates=400, rate=3e-3)
    return dict(adapter.new_parameters())


def train_lora(learned: Digits, folder: Path) -> dict[str, Tensor]:
    """Forty drawings of one style, and nothing else."""
    style = leaning_back(learned)
    forty = style[torch.cat([(style.labels == digit).nonzero()[:FORTY, 0] for digit in range(10)])]
    model = shelf.painter(folder)
    layers = add_lora(model)
    trainable = [parameter for parameter in layers.parameters() if parameter.requires_grad]
    fit(trainable, lambda batch: Request(model, batch.labels), forty, updates=500, rate=5e-3)
    return lora_state(layers)


def train(folder: Path) -> None:
    """Writes four files of weights and `metrics.json` into `folder`."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    learned, _, _ = load()
    made = {"script": "notebooks/material/gallery/train.py", "seed": str(SEED)}
    print("painter")
    shelf.save(train_painter(learned), "painter", folder, **made)
    for name, make in (
        ("controlnet", train_controlnet),
        ("look_adapter", train_look_adapter),
        ("leaning_lora", train_lora),
    ):
        print(name)
        torch.manual_seed(SEED)  # so that each can be trained again alone
        shelf.save(make(learned, folder), name, folder, **made)
    (folder / "metrics.json").write_text(json.dumps(measure(folder), indent=2) + "\n", encoding="utf-8")


def differences(trained: dict, committed: dict) -> list[str]:
    """A sentence for each figure that training again did not give, within its tolerance."""
    out = []
    for part, figures in committed.items():
        for name, value in figures.items():
            tolerance = TOLERANCE.get(name.split()[0], 0)
            if abs(trained[part][name] - value) > tolerance:
                out.append(f"{part}, {name}: {value} committed, {trained[part][name]} now (tolerance {tolerance})")
    return out


def main() -> None:
    if "--check" not in sys.argv:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else shelf.WEIGHTS
        train(folder)
        print((folder / "metrics.json").read_text(encoding="utf-8"))
        return
    with tempfile.TemporaryDirectory() as temporary:
        train(Path(temporary))
        found = differences(shelf.metrics(Path(temporary)), shelf.metrics())
    if found:
        sys.exit("The gallery trained again is not as its metrics.json says:\n" + "\n".join(found))
    print("The gallery trained again measures as its metrics.json says.")


if __name__ == "__main__":
    main()
