"""The zero convolutions as matrix products over the channels, with the scale folded into weight and bias; the encoder's
walk is a generator; the hint follows the paper, with 4x4 kernels and strides of 2."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

VAE_SCALE_FACTOR = 4


class ResBlock(nn.Module):
    """Given. A residual block that hears the timestep; with stride 2 it halves height and width (rounded up)."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.shift = nn.Linear(time_channels, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm(h))) + self.shift(emb)[:, :, None, None]
        return self.shortcut(h) + self.conv2(F.silu(inner))


class TimeEmbedding(nn.Module):
    """Given. Timesteps [batch] to the vectors [batch, channels] that every ResBlock hears."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.mlp = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, t: Int64[Tensor, "batch"]) -> Float[Tensor, "batch channels"]:
        frequencies = 10000 ** (-torch.arange(0, 1, 2 / self.channels, device=t.device))
        angles = t[:, None] * frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], 1).to(next(self.parameters())))


class TinyUNet(nn.Module):
    """Given. A noise predictor in the shape of Stable Diffusion's U-Net, small enough to train in a test.

    `channels` (even numbers) has one entry per level. down[0] keeps the size, every further one halves it. The skip
    connections are conv_in's output and each down block's, so there are len(channels) + 1 of them, with channels[0],
    channels[0], channels[1], ... channels; the decoder takes them from the last to the first.
    """

    def __init__(self, in_channels: int = 4, channels: Sequence[int] = (8, 8, 16), time_channels: int = 8) -> None:
        super().__init__()
        self.channels = tuple(channels)
        widths = (channels[0], *channels)  # of the skips
        self.time = TimeEmbedding(time_channels)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            ResBlock(widths[i], widths[i + 1], time_channels, stride=1 if i == 0 else 2) for i in range(len(channels))
        )
        self.mid = ResBlock(widths[-1], widths[-1], time_channels)
        self.up = nn.ModuleList(
            ResBlock(widths[min(i + 1, len(channels))] + widths[i], widths[i], time_channels)
            for i in reversed(range(len(widths)))
        )
        self.conv_out = nn.Conv2d(widths[0], in_channels, 3, padding=1)

    def forward(
        self,
        x: Float[Tensor, "batch in_channels height width"],
        t: Int64[Tensor, "batch"],
        down_residuals: Sequence[Tensor] | None = None,
        mid_residual: Tensor | None = None,
    ) -> Float[Tensor, "batch in_channels height width"]:
        """The predicted noise. Residuals, one per skip in the order of the encoder, are added to skips and middle."""
        emb = self.time(t)
        h = self.conv_in(x)
        skips = [h]
        for block in self.down:
            h = block(h, emb)
            skips.append(h)
        h = self.mid(h, emb)
        if down_residuals is not None:
            skips = [skip + residual for skip, residual in zip(skips, down_residuals, strict=True)]
        if mid_residual is not None:
            h = h + mid_residual
        for block in self.up:
            skip = skips.pop()
            h = F.interpolate(h, size=skip.shape[-2:])
            h = block(torch.cat([h, skip], 1), emb)
        return self.conv_out(h)


def _zero_conv(channels):
    conv = nn.utils.skip_init(nn.Conv2d, channels, channels, (1, 1))
    conv.load_state_dict({"weight": torch.zeros(channels, channels, 1, 1), "bias": torch.zeros(channels)})
    return conv


def _scaled(conv, h, scale):
    weight, bias = scale * conv.weight.flatten(1), scale * conv.bias
    return torch.einsum("oi,bihw->bohw", weight, h) + bias[:, None, None]


class ControlNet(nn.Module):
    def __init__(self, unet, condition_channels):
        super().__init__()
        if condition_channels < 1:
            raise ValueError(condition_channels)
        for name, part in unet.named_children():
            if name not in ("up", "conv_out"):
                self.add_module(name, deepcopy(part))
        first = unet.channels[0]
        steps = VAE_SCALE_FACTOR.bit_length() - 1
        widths = [condition_channels, *(16 * 2**i for i in range(steps))]
        strided = [layer for a, b in pairwise(widths) for layer in (nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU())]
        last = nn.Conv2d(widths[-1], first, 1)
        last.weight, last.bias = nn.Parameter(0 * last.weight.detach()), nn.Parameter(0 * last.bias.detach())
        self.hint = nn.Sequential(*strided, last)
        self.zero_convs = nn.ModuleList(map(_zero_conv, [first, *unet.channels]))
        self.zero_mid = _zero_conv(unet.channels[-1])
        for p in unet.parameters():
            self.to(device=p.device, dtype=p.dtype)
            break
        unet.requires_grad_(False)
        self.requires_grad_(True)

    def _walk(self, x, t, condition):
        emb = self.time(t)
        h = self.hint(condition) + self.conv_in(x)
        yield h
        for block in self.down:
            h = block(h, emb)
            yield h
        yield self.mid(h, emb)

    def forward(self, x, t, condition, scale=1.0):
        (h, w), (height, width) = x.shape[-2:], condition.shape[-2:]
        if (height, width) != (VAE_SCALE_FACTOR * h, VAE_SCALE_FACTOR * w):
            raise ValueError("sizes do not fit")
        convs = [*self.zero_convs, self.zero_mid]
        out = [_scaled(conv, h, scale) for conv, h in zip(convs, self._walk(x, t, condition), strict=True)]
        return out[:-1], out[-1]


class MultiControlNet(nn.Module):
    def __init__(self, controlnets):
        super().__init__()
        if len(controlnets) < 1:
            raise ValueError("one at least")
        self.nets = nn.ModuleList(controlnets)

    def forward(self, x, t, condition, scale=1.0):
        scales = scale if hasattr(scale, "__len__") else [scale for _ in self.nets]
        if len(condition) != len(self.nets):
            raise ValueError("conditions")
        if len(scales) != len(self.nets):
            raise ValueError("scales")
        flat = []
        for net, c, s in zip(self.nets, condition, scales, strict=True):
            down, mid = net(x, t, c, s)
            flat.append([*down, mid])
        *down, mid = (torch.stack(level, -1).sum(-1) for level in zip(*flat, strict=True))
        return down, mid


def controlled_eps(unet, controlnet, x, t, condition, scale=1.0):
    down, mid = controlnet(x, t, condition, scale)
    return unet(x, t, down, mid)
