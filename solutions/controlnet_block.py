"""ControlNet block.

How do you teach a pretrained diffusion model to follow an edge map or a pose without spoiling what it knows? And how
can a layer whose weights, bias and output are all zero ever learn anything?

A pretrained block F is frozen, and a trainable copy F' of it reads the control c. Two 1x1 convolutions that start at
zero, Z1 and Z2, connect the copy to the rest:

    y = F(x) + Z2(F'(x + Z1(c)))

At the start Z2 gives zero, so y = F(x): the first step of training sees the pretrained model, not noise. Its gradient
reaches Z2 only; as soon as Z2 has moved, gradients reach the copy and Z1 as well.

Rules: all of torch may be used. The block can be any module (a convolution, a Sequential, a residual block with
attention, an activation without parameters), so nothing may depend on what is inside it.

Stage 1: the zero convolution, the frozen block and its copy, the first steps of training.  Stage 2: any block, any
channels, several controls on one block, wrong arguments.  Stage 3: dtypes, devices, gradients.  Stage 4: the frozen
half costs one forward and nothing else: no backward, no activations kept, no gradients, no optimizer state.

Source: Zhang, Rao and Agrawala, "Adding Conditional Control to Text-to-Image Diffusion Models" (2023).
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn


def zero_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A trainable 1x1 convolution, stride 1, whose weight and bias are zero; each call makes a new one.

    Raises ValueError if `in_channels` or `out_channels` is below 1.
    """
    # kata: begin
    if in_channels < 1 or out_channels < 1:
        raise ValueError(f"a convolution needs at least one channel on each side, got {in_channels} -> {out_channels}")
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=1)
    for parameter in conv.parameters():  # weight and bias
        nn.init.zeros_(parameter)
    return conv
    # kata: end


class ControlNetBlock(nn.Module):
    """A frozen block F and its trainable copy F', joined by two zero convolutions: y = F(x) + Z2(F'(x + Z1(c))).

    Args:
        block: F, any module that maps [batch, channels, height, width] to `channels` channels again.
        channels: of the block's input and of its output.
        condition_channels: of the control c.

    Submodules (all of them registered, so that `.to()` and `state_dict()` reach them):
        frozen: F, the very object that was given, its values untouched; none of its parameters requires a gradient.
        copy: F', a copy with equal values that shares no memory with F; every one of its parameters requires a
            gradient, even if F came already frozen (a second control is often added to the same model).
        zero_in: Z1, condition_channels -> channels.
        zero_out: Z2, channels -> channels.

    Both zero convolutions get the dtype and device of the block's first parameter (of a block without parameters:
    torch's defaults). The state dict holds these four submodules and nothing else. Up to you: whether the frozen block is kept in eval mode, and
    whether x gets a gradient through it (through the copy it does).

    Raises ValueError if `channels` or `condition_channels` is below 1.
    """

    def __init__(self, block: nn.Module, channels: int, condition_channels: int) -> None:
        super().__init__()
        # kata: begin
        like = next(block.parameters(), torch.empty(0))
        self.zero_in = zero_conv(condition_channels, channels).to(like)
        self.zero_out = zero_conv(channels, channels).to(like)
        self.copy = copy.deepcopy(block).requires_grad_(True)
        self.frozen = block.requires_grad_(False)
        # kata: end

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        condition: Float[Tensor, "batch condition_channels height width"],
    ) -> Float[Tensor, "batch channels out_height out_width"]:
        """F(x) + Z2(F'(x + Z1(condition))), in x's dtype; neither input is modified.

        At the start this equals F(x) for every finite `condition`, however large. `condition` gets its gradient, so
        that an encoder of the control picture can be trained in front of it. F and F' run once each.
        """
        # kata: begin
        control = self.copy(x + self.zero_in(condition))
        return self.frozen(x) + self.zero_out(control)
        # kata: end
