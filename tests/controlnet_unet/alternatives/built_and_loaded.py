"""The copy is a second U-Net into which the first one's state dict is loaded, as libraries do it. The hint is one zero
convolution over patches, without any layer before it; zeros are written by a subclass of nn.Conv2d."""

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


class ZeroConv(nn.Conv2d):
    def reset_parameters(self):
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class ControlNet(nn.Module):
    def __init__(self, unet, condition_channels):
        if condition_channels < 1:
            raise ValueError("a condition has channels")
        super().__init__()
        like = {"device": unet.conv_in.weight.device, "dtype": unet.conv_in.weight.dtype}
        twin = TinyUNet(unet.conv_in.in_channels, unet.channels, unet.time.channels).to(**like)
        if like["device"].type != "meta":
            twin.load_state_dict(unet.state_dict())
        for name in ("time", "conv_in", "down", "mid"):
            self.add_module(name, getattr(twin, name))
        widths = [twin.conv_in.out_channels] + [block.conv2.out_channels for block in twin.down]
        patch = VAE_SCALE_FACTOR
        self.hint = ZeroConv(condition_channels, widths[0], patch, patch, **like)
        self.zero_convs = nn.ModuleList([ZeroConv(width, width, 1, **like) for width in widths])
        self.zero_mid = ZeroConv(widths[-1], widths[-1], 1, **like)
        unet.requires_grad_(False)

    def forward(self, x, t, condition, scale=1.0):
        height, width = x.shape[-2:]
        if list(condition.shape[-2:]) != [VAE_SCALE_FACTOR * height, VAE_SCALE_FACTOR * width]:
            raise ValueError(f"got {condition.shape} for {x.shape}")
        emb = self.time(t)
        h = self.hint(condition).add(self.conv_in(x))
        out = [self.zero_convs[0](h).mul(scale)]
        for block, zero_conv in zip(self.down, self.zero_convs[1:], strict=True):
            h = block(h, emb)
            out.append(zero_conv(h).mul(scale))
        return out, self.zero_mid(self.mid(h, emb)).mul(scale)


class MultiControlNet(nn.Module):
    def __init__(self, controlnets):
        super().__init__()
        self.nets = nn.ModuleList(controlnets)
        if len(self.nets) < 1:
            raise ValueError("at least one")

    def forward(self, x, t, condition, scale=1.0):
        count = len(self.nets)
        scales = list(scale) if isinstance(scale, Sequence) else count * [scale]
        if {len(condition), len(scales)} != {count}:
            raise ValueError("conditions, scales and nets go together")
        pairs = [self.nets[i](x, t, condition[i], scales[i]) for i in range(count)]
        down = [sum(levels) for levels in zip(*(pair[0] for pair in pairs), strict=True)]
        return down, sum(pair[1] for pair in pairs)


def controlled_eps(unet, controlnet, x, t, condition, scale=1.0):
    return unet(x, t, *controlnet(x, t, condition, scale))
