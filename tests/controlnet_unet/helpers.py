"""What any right ControlNet over a U-Net does. No gradient to x is asked for, and the hint encoder may be any module.

The oracle is the given U-Net itself, looked at with hooks: its skips, and what its decoder is fed."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import expect, expect_close, expect_equal, randint, randn
from dojo.testing.modules import fill, fill_at_random
from katas.controlnet_unet import VAE_SCALE_FACTOR, ControlNet, TinyUNet

DEEP = (4, 4, 6)  # skips of 4, 4, 4 and 6 channels; the first two are of one size


def built(channels=DEEP, condition_channels=3, kind=torch.float64):
    unet = TinyUNet(2, channels).to(kind)
    return unet, ControlNet(unet, condition_channels)


def inputs(rng, batch=2, size=(8, 8), condition_channels=3):
    picture = [VAE_SCALE_FACTOR * side for side in size]
    t = randint(rng, 0, 1000, batch)
    return randn(rng, batch, 2, *size), t, randn(rng, batch, condition_channels, *picture)


def doors(net):
    """The zero convolutions, the middle's last."""
    found = [*net.zero_convs, net.zero_mid]
    for conv in found:
        hint = "its bias starts at zero, and then learns"
        expect(conv.bias is not None, "a zero convolution should have a bias, but has none", hint=hint)
    return found


def residuals(net, *arguments, **named):
    down, mid = net(*arguments, **named)
    hint = "the middle gets a residual too: the copied middle block, then zero_mid"
    expect(isinstance(mid, torch.Tensor), f"mid_residual should be a tensor, but is {type(mid).__name__}", hint=hint)
    return [*down, mid]


def open_doors(net):
    """Every zero convolution becomes the identity, so the residuals are the copy's skips and middle themselves."""
    for conv in doors(net):
        fill(conv.weight, torch.eye(len(conv.weight))[:, :, None, None])
        fill(conv.bias, 0.0)
    return net


class Shrink(nn.Module):
    """A hint encoder to calculate with: the mean over each patch, its channels mixed by `weight`."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, condition):
        means = F.avg_pool2d(condition, VAE_SCALE_FACTOR)
        return torch.einsum("oc, bchw -> bohw", self.weight, means)


def awake(net, rng, condition_channels=3):
    """As some training leaves it: no zeros are left, and a hint that does not depend on how it is built."""
    fill_at_random((parameter for conv in doors(net) for parameter in conv.parameters()), rng, 0.5)
    first = net.conv_in.weight
    net.hint = Shrink(randn(rng, len(first), condition_channels).to(first))
    return net


def skips(unet, x, t, added=0.0):
    """The U-Net's skips and middle, with `added` on top of conv_in's output."""
    seen = []
    watched = [unet.conv_in, *unet.down, unet.mid]
    hooks = [unet.conv_in.register_forward_hook(lambda module, given, out: out + added)]
    hooks += [part.register_forward_hook(lambda module, given, out: seen.append(out)) for part in watched]
    unet(x, t)
    for hook in hooks:
        hook.remove()
    return seen


def names(unet):
    return [f"down_residuals[{i}]" for i in range(len(unet.channels) + 1)] + ["mid_residual"]


def expect_residuals(seen, wanted, unet, *, note, hint):
    expect_equal(len(seen) - 1, len(wanted) - 1, what="the number of down residuals", hint="conv_in gives a skip too")
    for name, one, other in zip(names(unet), seen, wanted, strict=True):
        expect_close(one, other, what=f"{name} {note}", hint=hint)
