"""What is hung on the frozen painter: a ControlNet that reads strokes, an IP-Adapter that reads a look, a LoRA.

The blocks are those of the katas; here is only where they go. Each function changes a painter in place and returns what
trains.
"""

import importlib
from collections.abc import Iterator
from types import ModuleType

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from .digits import Digits
from .measures import FINE, LOOK
from .painter import CHANNELS, HEAD_DIM, HEADS, NO_DIGIT, WIDTH, Painter

IMAGE_TOKENS = 2
RANK, ALPHA = 4, 8.0
NO_ROW = -1
NULL = torch.tensor([NO_DIGIT, NO_ROW])  # the null condition of requests [batch, 2]


def freeze(painter: Painter) -> None:
    painter.requires_grad_(False)


class Hint(nn.Module):
    """Encodes a line drawing at the size of the digits. Its last layer is zero at the start, the ones before are not."""

    def __init__(self) -> None:
        super().__init__()
        width = CHANNELS[0]
        self.read = nn.Conv2d(FINE**2, width, 3, padding=1)
        self.zero = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.zero.weight)
        nn.init.zeros_(self.zero.bias)

    def forward(self, drawing: Float[Tensor, "batch 1 32 32"]) -> Float[Tensor, "batch channels 8 8"]:
        return self.zero(F.silu(self.read(F.pixel_unshuffle(drawing, FINE))))


def add_controlnet(painter: Painter, kata: ModuleType | None = None) -> nn.Module:
    """A ControlNet on the painter's U-Net, as your kata builds it. Which encoder reads the drawing is free: here, ours.

    `kata` is another module than yours, say one with a mistake in it.
    """
    freeze(painter)
    net = (kata or importlib.import_module("katas.controlnet_unet")).ControlNet(painter.unet, condition_channels=1)
    net.hint = Hint()
    return net


class LookAdapter(nn.Module):
    """IP-Adapter: the tokens of a look, and keys and values for them in every attention of the painter."""

    def __init__(self, painter: Painter, kata: ModuleType | None = None) -> None:
        kata = kata or importlib.import_module("katas.ip_adapter")
        super().__init__()
        freeze(painter)
        self.projection = kata.ImageProjection(len(LOOK) + 1, WIDTH, IMAGE_TOKENS)
        self.attentions = nn.ModuleList()
        for listener in painter.listeners:
            pretrained = listener.attention
            attention = kata.DecoupledCrossAttention(pretrained.to_q.in_features, WIDTH, HEADS, HEAD_DIM)
            attention.load_state_dict(pretrained.state_dict(), strict=False)  # what it lacks is the image's half
            listener.attention = attention
            self.attentions.append(attention)

    def tokens(self, look: Float[Tensor, "batch 4"], given: Float[Tensor, "batch"]) -> Float[Tensor, "batch 2 width"]:
        """`given` is 0 where there is no reference: the null condition of guidance, not the usual look."""
        return self.projection(torch.cat([look * given[:, None], given[:, None]], 1))

    def scale(self, scale: float) -> None:
        for attention in self.attentions:
            attention.scale = scale

    def new_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What trains, and all that is published."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)


def add_lora(painter: Painter, rank: int = RANK, alpha: float = ALPHA, kata: ModuleType | None = None) -> nn.ModuleDict:
    """LoRA on every linear layer of the painter's attentions and on those through which its blocks hear the time."""
    lora = (kata or importlib.import_module("katas.lora_linear")).LoRALinear
    freeze(painter)
    layers = nn.ModuleDict()
    for number, listener in enumerate(painter.listeners):
        for name in ("to_q", "to_k", "to_v", "to_out"):
            layers[f"{number}-{name}"] = lora(getattr(listener.attention, name), rank, alpha)
            setattr(listener.attention, name, layers[f"{number}-{name}"])
    for number, block in enumerate((*painter.unet.down, painter.unet.mid, *painter.unet.up)):
        layers[f"{number}-shift"] = lora(block.shift, rank, alpha)
        block.shift = layers[f"{number}-shift"]
    return layers


def lora_state(layers: nn.ModuleDict) -> dict[str, Tensor]:
    """The two factors of every layer, without the frozen weights beside them."""
    return {
        f"{name}.{factor}": getattr(layer, factor).detach()
        for name, layer in layers.items()
        for factor in ("lora_A", "lora_B")
    }


def load_lora(layers: nn.ModuleDict, state: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for key, value in state.items():
            name, factor = key.split(".")
            getattr(layers[name], factor).copy_(value)


class Request:
    """A batch of pictures to be painted: digits, and what else each of them is conditioned on.

    Guidance asks the model twice about each picture, in an order of its own, and knows only one tensor of conditions.
    So `conditions` [batch, 2] holds, for each picture, its digit and its number, by which the rest is found again.
    """

    def __init__(
        self,
        painter: Painter,
        digits: Int64[Tensor, "batch"],
        *,
        drawing: Float[Tensor, "batch 1 32 32"] | None = None,
        controlnet: nn.Module | None = None,
        control_scale: float = 1.0,
        look: Float[Tensor, "batch 4"] | None = None,
        adapter: LookAdapter | None = None,
    ) -> None:
        self.painter, self.adapter = painter, adapter
        self.drawing, self.controlnet, self.control_scale = drawing, controlnet, control_scale
        self.look = torch.zeros(len(digits), len(LOOK)) if look is None else look
        self.conditions = torch.stack([digits, torch.arange(len(digits))], 1)
        self.null = torch.stack([torch.full_like(digits, NO_DIGIT), torch.arange(len(digits))], 1)

    def __call__(self, x: Tensor, t: Tensor, conditions: Int64[Tensor, "batch 2"]) -> Tensor:
        """eps, as `katas.classifier_free_guidance` calls a model. The drawing stays where the digit is dropped."""
        from katas.controlnet_unet import controlled_eps

        digits, rows = conditions.unbind(1)
        tokens: tuple[Tensor, ...] = ()
        if self.adapter is not None:
            tokens = (self.adapter.tokens(self.look[rows], (digits != NO_DIGIT).to(x.dtype)),)
        if self.controlnet is None:
            return self.painter(x, t, digits, *tokens)
        drawing = self.drawing[rows]
        return self.painter(
            x,
            t,
            digits,
            *tokens,
            eps=lambda x, t: controlled_eps(self.painter.unet, self.controlnet, x, t, drawing, self.control_scale),
        )


def leaning_back(digits: Digits, lean: float = 0.3) -> Digits:
    """Digits in a hand that nobody in the data has: the pen goes `lean` pixels to the left for each pixel up."""
    transform = torch.tensor([[1.0, -lean, 0.0], [0.0, 1.0, 0.0]]).expand(len(digits), 2, 3)
    grid = F.affine_grid(transform, list(digits.images.shape), align_corners=False)
    return Digits(F.grid_sample(digits.images + 1, grid, align_corners=False) - 1, digits.labels)
