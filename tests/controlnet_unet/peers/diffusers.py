"""diffusers' own hint encoder and zero_module make what is new. Its ControlNetModel copies its own U-Nets only (and its
MultiControlNetModel calls these), so the walk over this kata's U-Net is put together here."""

import copy
from collections.abc import Sequence

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding, zero_module
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
    return zero_module(nn.Conv2d(channels, channels, kernel_size=1))


class ControlNet(nn.Module):
    def __init__(self, unet, condition_channels):
        super().__init__()
        if condition_channels < 1:
            raise ValueError("at least one channel is needed")
        self.time, self.conv_in, self.down, self.mid = copy.deepcopy([unet.time, unet.conv_in, unet.down, unet.mid])
        first, last = unet.channels[0], unet.channels[-1]
        # Each step from one width to the next halves the picture.
        self.hint = ControlNetConditioningEmbedding(first, condition_channels, block_out_channels=(8, 8, 16))
        self.zero_convs = nn.ModuleList(_zero_conv(channels) for channels in (first, *unet.channels))
        self.zero_mid = _zero_conv(last)
        self.to(unet.conv_in.weight).requires_grad_(True)
        unet.requires_grad_(False)

    def forward(self, x, t, condition, scale=1.0):
        if condition.shape[-2:] != tuple(VAE_SCALE_FACTOR * side for side in x.shape[-2:]):
            raise ValueError("the condition is a picture, not a latent")
        emb = self.time(t)
        h = self.conv_in(x) + self.hint(condition)
        skips = [h]
        for block in self.down:
            h = block(h, emb)
            skips.append(h)
        down = [scale * zero_conv(skip) for zero_conv, skip in zip(self.zero_convs, skips, strict=True)]
        return down, scale * self.zero_mid(self.mid(h, emb))


class MultiControlNet(nn.Module):
    def __init__(self, controlnets):
        super().__init__()
        if len(controlnets) == 0:
            raise ValueError("at least one net is needed")
        self.nets = nn.ModuleList(controlnets)

    def forward(self, x, t, condition, scale=1.0):
        scales = [scale] * len(self.nets) if isinstance(scale, int | float) else scale
        total = None
        for net, image, s in zip(self.nets, condition, scales, strict=True):
            down, mid = net(x, t, image, s)
            total = [*down, mid] if total is None else [a + b for a, b in zip(total, [*down, mid], strict=True)]
        return total[:-1], total[-1]


def controlled_eps(unet, controlnet, x, t, condition, scale=1.0):
    return unet(x, t, *controlnet(x, t, condition, scale))
