"""ControlNet over a U-Net.

You have one ControlNet block. How do you control a whole U-Net with it: what is copied, where does the picture enter,
where do the outputs go, and how does one turn the control down, or use two at once?

    h_0 = conv_in'(x) + hint(condition)        h_i = down'_i(h_{i-1}, time'(t))        m = mid'(h_n, time'(t))
    r_i = scale Z_i(h_i),  i = 0..n            r_mid = scale Z_mid(m)
    eps = the frozen U-Net's prediction, with r_i added to its i-th skip connection and r_mid to its middle

A prime marks the trainable copy of the U-Net's encoder and middle. Each Z is a zero convolution (1x1, weight and bias
zero at the start) of its own. The decoder is not copied, and the frozen encoder never sees the condition.

Rules: all of torch may be used. ResBlock, TimeEmbedding and TinyUNet are given: use them as they are. x is a latent:
an autoencoder, not part of this kata, has made pictures smaller by VAE_SCALE_FACTOR in height and in width. The
condition is a picture and has not been through it. No argument's values are modified.

Stage 1: copies, zero convolutions, residuals, the first steps of training.  Stage 2: the scale, several ControlNets,
any depth and size, wrong arguments.  Stage 3: dtypes, devices, gradients through the frozen decoder.  Stage 4: one
pass through each network, a backward pass only where something trains.

Source: Zhang, Rao and Agrawala, "Adding Conditional Control to Text-to-Image Diffusion Models" (2023), section 3.
"""

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


# kata: begin
def _zero_conv(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, kernel_size=1)
    for parameter in conv.parameters():  # weight and bias
        nn.init.zeros_(parameter)
    return conv


# kata: end


class ControlNet(nn.Module):
    """A trainable copy of a U-Net's encoder and middle that reads a control picture and gives residuals.

    Submodules (all registered, all with dtype and device of the U-Net, every parameter trainable):
        time, conv_in, down, mid: copies of the U-Net's submodules of these names: equal values, memory of their own,
            trainable even if the U-Net came already frozen (a second control is often added to the same model).
        hint: the encoder of the condition, any module that maps [batch, condition_channels, f height, f width] to
            [batch, channels[0], height, width], f = VAE_SCALE_FACTOR, each sample by itself. At the start it gives
            exactly zero for every condition that is not so large that sums of it overflow, and yet it learns: at the
            step after the convolutions below have left zero something in it has a gradient, and one step later
            everything in it has.
        zero_convs: an nn.ModuleList of nn.Conv2d, one per skip connection, in the order of the encoder.
        zero_mid: an nn.Conv2d for the middle. These are all 1x1 with a bias, keep the number of channels, and start
            with weight and bias zero.

    Nothing else holds parameters. The U-Net is no submodule: `parameters()` are what an optimizer gets, and
    `state_dict()` is what one publishes.
    """

    def __init__(self, unet: TinyUNet, condition_channels: int) -> None:
        """Freezes `unet` in place: none of its parameters requires a gradient; its values and its mode stay.

        Raises ValueError if `condition_channels` is below 1.
        """
        super().__init__()
        # kata: begin
        if condition_channels < 1:
            raise ValueError(f"the condition needs at least one channel, got {condition_channels}")
        first, last = unet.channels[0], unet.channels[-1]
        # Only the last layer is zero: with zeros before it as well its weight would never get a gradient.
        patches = nn.Conv2d(condition_channels, first, VAE_SCALE_FACTOR, stride=VAE_SCALE_FACTOR)
        self.hint = nn.Sequential(patches, nn.SiLU(), _zero_conv(first))
        self.zero_convs = nn.ModuleList(_zero_conv(channels) for channels in (first, *unet.channels))
        self.zero_mid = _zero_conv(last)
        self.to(unet.conv_in.weight)  # so far there are new layers only
        unet.requires_grad_(False)
        self.time = copy.deepcopy(unet.time)
        self.conv_in = copy.deepcopy(unet.conv_in)
        self.down = copy.deepcopy(unet.down)
        self.mid = copy.deepcopy(unet.mid)
        self.requires_grad_(True)  # the copies of a frozen U-Net are frozen
        # kata: end

    def forward(
        self,
        x: Float[Tensor, "batch in_channels height width"],
        t: Int64[Tensor, "batch"],
        condition: Float[Tensor, "batch condition_channels picture_height picture_width"],
        scale: float = 1.0,
    ) -> tuple[list[Tensor], Tensor]:
        """(down_residuals, mid_residual) as TinyUNet.forward takes them, each of them times `scale`.

        The embedded condition is what the submodule `hint` gives when it is called with the condition (another module
        may have been put there); it is added once, to conv_in's output, and so reaches the first skip too. Any scale
        is allowed, 0 and negative ones included.

        Raises ValueError unless the condition's height and width are VAE_SCALE_FACTOR times those of x (a 1x1
        embedding would be broadcast over the whole latent without a word).
        """
        # kata: begin
        if condition.shape[2:] != tuple(VAE_SCALE_FACTOR * side for side in x.shape[2:]):
            raise ValueError(
                f"a condition for latents of {list(x.shape[2:])} has {VAE_SCALE_FACTOR} times their height and width, "
                f"got {list(condition.shape[2:])}"
            )
        emb = self.time(t)
        h = self.conv_in(x) + self.hint(condition)
        skips = [h]
        for block in self.down:
            h = block(h, emb)
            skips.append(h)
        down_residuals = [scale * zero_conv(skip) for zero_conv, skip in zip(self.zero_convs, skips, strict=True)]
        return down_residuals, scale * self.zero_mid(self.mid(h, emb))
        # kata: end


class MultiControlNet(nn.Module):
    """Several ControlNets on one U-Net (edges and a pose): their residuals are summed, level by level.

    They are kept, in order, in the nn.ModuleList `nets`; each is called as a ControlNet is.
    """

    def __init__(self, controlnets: Sequence[nn.Module]) -> None:
        """Raises ValueError if there is no ControlNet."""
        super().__init__()
        # kata: begin
        if not controlnets:
            raise ValueError("a MultiControlNet needs at least one ControlNet")
        self.nets = nn.ModuleList(controlnets)
        # kata: end

    def forward(
        self,
        x: Float[Tensor, "batch in_channels height width"],
        t: Int64[Tensor, "batch"],
        condition: Sequence[Tensor],
        scale: float | Sequence[float] = 1.0,
    ) -> tuple[list[Tensor], Tensor]:
        """(down_residuals, mid_residual): the sums over the nets, each net with its own condition and its own scale.

        One number as `scale` serves all nets. Raises ValueError unless there are as many conditions, and as many
        scales in a sequence, as nets.
        """
        # kata: begin
        scales = [scale] * len(self.nets) if isinstance(scale, int | float) else scale
        # strict: a plain zip would leave out, without a word, a net that has no condition or no scale.
        given = [net(x, t, c, s) for net, c, s in zip(self.nets, condition, scales, strict=True)]
        levels = zip(*(down for down, _ in given), strict=True)  # n nets x m levels -> m levels x n nets
        return [torch.stack(level).sum(0) for level in levels], torch.stack([mid for _, mid in given]).sum(0)
        # kata: end


def controlled_eps(
    unet: TinyUNet,
    controlnet: nn.Module,
    x: Float[Tensor, "batch in_channels height width"],
    t: Int64[Tensor, "batch"],
    condition: Tensor | Sequence[Tensor],
    scale: float | Sequence[float] = 1.0,
) -> Float[Tensor, "batch in_channels height width"]:
    """The noise that the U-Net predicts under control. `controlnet` is a ControlNet or a MultiControlNet.

    While the zero convolutions are zero, and at scale 0, this is exactly `unet(x, t)`. Either network runs once, in the
    mode (train or eval) it is in, and stays in it. Gradients reach the condition and everything trainable in the
    ControlNet, through the frozen decoder; whether x gets one through the U-Net is up to you.
    """
    # kata: begin
    down_residuals, mid_residual = controlnet(x, t, condition, scale)
    return unet(x, t, down_residuals, mid_residual)
    # kata: end
