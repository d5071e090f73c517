"""A beginner's: a deep copy of the whole U-Net from which the parts are taken, loops with plain lists, a hint encoder
of strided 3x3 convolutions, residuals in a tuple. The ControlNets' sums are made by hand."""

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


class ControlNet(nn.Module):
    def __init__(self, unet, condition_channels):
        super(ControlNet, self).__init__()  # noqa: UP008
        if condition_channels <= 0:
            raise ValueError("condition_channels must be positive")
        duplicate = copy.deepcopy(unet)
        for parameter in unet.parameters():
            parameter.requires_grad = False
        self.time = duplicate.time
        self.conv_in = duplicate.conv_in
        self.down = duplicate.down
        self.mid = duplicate.mid
        layers = []
        width = condition_channels
        side = VAE_SCALE_FACTOR
        while side > 1:
            layers.append(nn.Conv2d(width, 8, 3, stride=2, padding=1))
            layers.append(nn.ReLU())
            width = 8
            side = side // 2
        layers.append(nn.Conv2d(8, unet.channels[0], 3, padding=1))
        nn.init.constant_(layers[-1].weight, 0)
        nn.init.constant_(layers[-1].bias, 0)
        self.hint = nn.Sequential(*layers)
        skip_channels = [unet.channels[0]] + list(unet.channels)  # noqa: RUF005
        self.zero_convs = nn.ModuleList()
        for channels in skip_channels:
            conv = nn.Conv2d(channels, channels, 1)
            conv.weight.data[:] = 0
            conv.bias.data[:] = 0
            self.zero_convs.append(conv)
        self.zero_mid = nn.Conv2d(skip_channels[-1], skip_channels[-1], 1)
        self.zero_mid.weight.data[:] = 0
        self.zero_mid.bias.data[:] = 0
        example = unet.conv_out.weight
        self.hint.to(example.device, example.dtype)
        self.zero_convs.to(example.device, example.dtype)
        self.zero_mid.to(example.device, example.dtype)
        for parameter in self.parameters():
            parameter.requires_grad = True

    def forward(self, x, t, condition, scale=1.0):
        height, width = x.shape[2], x.shape[3]
        if condition.shape[2] != VAE_SCALE_FACTOR * height or condition.shape[3] != VAE_SCALE_FACTOR * width:
            raise ValueError("the condition has the wrong size")
        hint = self.hint(condition)
        emb = self.time(t)
        h = self.conv_in(x)
        h = h + hint
        down_residuals = [self.zero_convs[0](h) * scale]
        for i in range(len(self.down)):
            h = self.down[i](h, emb)
            down_residuals.append(self.zero_convs[i + 1](h) * scale)
        h = self.mid(h, emb)
        mid_residual = self.zero_mid(h) * scale
        return tuple(down_residuals), mid_residual


class MultiControlNet(nn.Module):
    def __init__(self, controlnets):
        super(MultiControlNet, self).__init__()  # noqa: UP008
        if len(controlnets) == 0:
            raise ValueError("no ControlNets")
        self.nets = nn.ModuleList()
        for net in controlnets:
            self.nets.append(net)

    def forward(self, x, t, condition, scale=1.0):
        if not isinstance(scale, (list, tuple)):
            scale = [scale for _ in self.nets]
        if len(condition) != len(self.nets):
            raise ValueError("one condition for each ControlNet")
        if len(scale) != len(self.nets):
            raise ValueError("one scale for each ControlNet")
        down_sum, mid_sum = self.nets[0](x, t, condition[0], scale[0])
        down_sum = list(down_sum)
        for i in range(1, len(self.nets)):
            down, mid = self.nets[i](x, t, condition[i], scale[i])
            for level in range(len(down)):
                down_sum[level] = down_sum[level] + down[level]
            mid_sum = mid_sum + mid
        return down_sum, mid_sum


def controlled_eps(unet, controlnet, x, t, condition, scale=1.0):
    residuals = controlnet(x, t, condition, scale=scale)
    return unet(x, t, down_residuals=residuals[0], mid_residual=residuals[1])
