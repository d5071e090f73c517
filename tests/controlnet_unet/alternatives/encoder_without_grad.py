"""The frozen encoder runs under no_grad, step by step; only the decoder is in the graph. The hint is PixelUnshuffle
and two convolutions, as T2I-Adapters have it, and the constructor freezes the U-Net last."""

import copy
from collections.abc import Sequence

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


def zeroed(module):
    for parameter in module.parameters():
        parameter.detach().zero_()
    return module


class ControlNet(nn.Module):
    def __init__(self, unet, condition_channels):
        super().__init__()
        if condition_channels < 1:
            raise ValueError("condition_channels must be at least 1")
        for name in ("time", "conv_in", "down", "mid"):
            setattr(self, name, copy.deepcopy(getattr(unet, name)).requires_grad_(True))
        kind = dict(device=unet.conv_in.weight.device, dtype=unet.conv_in.weight.dtype)
        top, bottom = unet.channels[0], unet.channels[-1]
        self.hint = nn.Sequential(
            nn.PixelUnshuffle(VAE_SCALE_FACTOR),
            nn.Conv2d(condition_channels * VAE_SCALE_FACTOR**2, 12, 3, padding=1, **kind),
            nn.GELU(),
            nn.Conv2d(12, 12, 3, padding=1, **kind),
            nn.GELU(),
            zeroed(nn.Conv2d(12, top, 1, **kind)),
        )
        self.zero_convs = nn.ModuleList([zeroed(nn.Conv2d(top, top, 1, **kind))])
        self.zero_convs.extend(zeroed(nn.Conv2d(c, c, 1, **kind)) for c in unet.channels)
        self.zero_mid = zeroed(nn.Conv2d(bottom, bottom, 1, **kind))
        unet.requires_grad_(False)

    def forward(self, x, t, condition, scale=1.0):
        if any(a != VAE_SCALE_FACTOR * b for a, b in zip(condition.shape[2:], x.shape[2:], strict=True)):
            raise ValueError("the condition is a picture of the latent's resolution times VAE_SCALE_FACTOR")
        emb = self.time(t)
        skips = [self.conv_in(x) + self.hint(condition)]
        for block in self.down:
            skips.append(block(skips[-1], emb))
        features = [*skips, self.mid(skips[-1], emb)]
        *down, mid = [scale * conv(h) for conv, h in zip([*self.zero_convs, self.zero_mid], features, strict=True)]
        return down, mid


class MultiControlNet(nn.Module):
    def __init__(self, controlnets):
        super().__init__()
        if not controlnets:
            raise ValueError("no nets")
        self.nets = nn.ModuleList(controlnets)

    def forward(self, x, t, condition, scale=1.0):
        try:
            scales = list(scale)
        except TypeError:
            scales = [scale] * len(self.nets)
        total = None
        for net, c, s in zip(self.nets, condition, scales, strict=True):  # strict raises the ValueError
            down, mid = net(x, t, c, s)
            now = [*down, mid]
            total = now if total is None else [a + b for a, b in zip(total, now, strict=True)]
        return total[:-1], total[-1]


def controlled_eps(unet, controlnet, x, t, condition, scale=1.0):
    with torch.no_grad():
        emb = unet.time(t)
        h = unet.conv_in(x)
        skips = [h]
        for block in unet.down:
            h = block(h, emb)
            skips.append(h)
        h = unet.mid(h, emb)
    down, mid = controlnet(x, t, condition, scale)
    h = h + mid
    for block, skip, residual in zip(unet.up, reversed(skips), reversed(list(down)), strict=True):
        h = F.interpolate(h, size=skip.shape[-2:])
        h = block(torch.cat([h, skip + residual], 1), emb)
    return unet.conv_out(h)
