"""The gallery's diffusion model: the TinyUNet of `katas/controlnet_unet.py`, and a prompt that its decoder listens to.

The prompt is a digit, as a few learned tokens. Each block of the decoder is followed by an attention from its pixels to
these tokens. The attentions are hooked on from outside: the U-Net itself stays exactly the kata's, so that a ControlNet
can copy its encoder, which never hears the prompt.
"""

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from katas.controlnet_unet import TinyUNet

NO_DIGIT = 10  # the null condition of classifier-free guidance
STEPS = 1000
CHANNELS = (20, 32)
TIME_CHANNELS = 40
TOKENS, WIDTH = 4, 32  # of the prompt
HEADS, HEAD_DIM = 2, 10


class PromptAttention(nn.Module):
    """Cross-attention from pixels to the prompt, with the parameter names that cross-attention has in the katas."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_DIM
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_k = nn.Linear(WIDTH, inner, bias=False)
        self.to_v = nn.Linear(WIDTH, inner, bias=False)
        self.to_out = nn.Linear(inner, channels)

    def forward(
        self, x: Float[Tensor, "batch pixels channels"], context: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch pixels channels"]:
        q, k, v = (
            t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class Listener(nn.Module):
    """Adds the prompt's answer to what a block gives: normed pixels attend, and the block's own output is kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, channels)
        self.attention: nn.Module = PromptAttention(channels)
        self.heard: tuple[Tensor, ...] = ()  # the prompt's tokens, and an image's if the attention takes them

    def hook(self, block: nn.Module, inputs: tuple, h: Tensor) -> Tensor:
        pixels = (
            self.norm(h).flatten(2).transpose(1, 2)
        )  # [batch, channels, height, width] -> [batch, pixels, channels]
        return h + self.attention(pixels, *self.heard).transpose(1, 2).view_as(h)


class Painter(nn.Module):
    """Predicts the noise in pictures [batch, 1, 8, 8] of digits that are named, or not (NO_DIGIT)."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = TinyUNet(1, CHANNELS, TIME_CHANNELS)
        self.prompt = nn.Embedding(NO_DIGIT + 1, TOKENS * WIDTH)
        self.listeners = nn.ModuleList(Listener(block.conv2.out_channels) for block in self.unet.up)
        for block, listener in zip(self.unet.up, self.listeners, strict=True):
            block.register_forward_hook(listener.hook)

    def forward(
        self,
        x: Float[Tensor, "batch 1 8 8"],
        t: Int64[Tensor, "batch"],
        digit: Int64[Tensor, "batch"],
        *image_tokens: Float[Tensor, "batch tokens width"],
        eps=None,
    ) -> Float[Tensor, "batch 1 8 8"]:
        """`eps(x, t)` stands in for the plain U-Net where a ControlNet helps it."""
        heard = (self.prompt(digit).unflatten(-1, (TOKENS, WIDTH)), *image_tokens)
        for listener in self.listeners:
            listener.heard = heard
        try:
            return (eps or self.unet)(x, t)
        finally:
            for listener in self.listeners:
                listener.heard = ()  # a deepcopy must not meet tensors of a graph
