"""The copies' activations are recomputed in the backward pass; the hint is ordinary layers behind a gate that starts at
zero (ReZero) in place of a zero convolution; where the scale is 0 nothing is computed when no gradient is needed."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

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


class Hint(nn.Module):
    def __init__(self, condition_channels, channels):
        super().__init__()
        self.shrink = nn.AvgPool2d(VAE_SCALE_FACTOR)
        self.mix = nn.Conv2d(condition_channels, channels, 3, padding=1)
        self.gate = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, condition):
        return self.gate * F.silu(self.mix(self.shrink(condition)))


class ControlNet(nn.Module):
    def __init__(self, unet, condition_channels):
        super().__init__()
        if not condition_channels >= 1:
            raise ValueError("nothing to condition on")
        self.time, self.conv_in, self.down, self.mid = map(
            copy.deepcopy, (unet.time, unet.conv_in, unet.down, unet.mid)
        )
        self.hint = Hint(condition_channels, unet.channels[0])
        self.zero_convs = nn.ModuleList(nn.Conv2d(c, c, 1) for c in unet.channels[:1] + unet.channels)
        self.zero_mid = nn.Conv2d(unet.channels[-1], unet.channels[-1], 1)
        with torch.no_grad():
            for parameter in (*self.zero_convs.parameters(), *self.zero_mid.parameters()):
                parameter.fill_(0.0)
        self.to(next(unet.parameters()))
        self.requires_grad_()
        for parameter in unet.parameters():
            parameter.requires_grad_(False)

    def forward(self, x, t, condition, scale=1.0):
        wanted = torch.Size(VAE_SCALE_FACTOR * n for n in x.shape[-2:])
        if condition.shape[-2:] != wanted:
            raise ValueError(f"wanted {wanted}")
        emb = self.time(t)
        h = self.conv_in(x) + self.hint(condition)
        features = [h]
        for block in [*self.down, self.mid]:
            h = checkpoint(block, h, emb, use_reentrant=False)
            features.append(h)
        convs = list(self.zero_convs) + [self.zero_mid]  # noqa: RUF005
        if scale == 0 and not torch.is_grad_enabled():
            out = [torch.zeros_like(h) for h in features]
        else:
            out = [scale * conv(h) for conv, h in zip(convs, features, strict=True)]
        return out[:-1], out[-1]


class MultiControlNet(nn.Module):
    def __init__(self, controlnets):
        super().__init__()
        controlnets = list(controlnets)
        if controlnets == []:
            raise ValueError("no nets")
        self.nets = nn.ModuleList(controlnets)

    def forward(self, x, t, condition, scale=1.0):
        n = len(self.nets)
        scales = torch.as_tensor(scale, dtype=torch.float64).tolist()
        scales = [scales] * n if isinstance(scales, float) else scales
        if len(condition) != n or len(scales) != n:
            raise ValueError("counts differ")
        down, mid = None, 0
        for i, net in enumerate(self.nets):
            more, m = net(x, t, condition[i], scale=scales[i])
            down = list(more) if down is None else list(map(torch.add, down, more))
            mid = mid + m
        return down, mid


def controlled_eps(unet, controlnet, x, t, condition, scale=1.0):
    down_residuals, mid_residual = controlnet(x, t, condition=condition, scale=scale)
    return unet(x, t, mid_residual=mid_residual, down_residuals=down_residuals)
