"""The DiT block.

Write the DiT block with AdaLN-Zero, and the final layer. Why does the modulation start at zero? What does the first
gradient step change, and what the second?

A diffusion transformer reads patches x and a condition c, the sum of the embeddings of time and class. In place of the
norms' own weights and biases, c gives each sample a shift and a scale for each norm, and a gate for each branch:
    shift1, scale1, gate1, shift2, scale2, gate2 = modulation(silu(c))           six times [dim], in this order
    h = x + gate1 * attention(norm(x) * (1 + scale1) + shift1)
    y = h + gate2 * mlp(norm(h) * (1 + scale2) + shift2)
    norm(x) = (x - mean) / sqrt(var + 1e-6)       along the last dimension, var with 1 / dim; without parameters
    attention(z) = proj(softmax(q k^T / sqrt(head_dim)) v), by heads, where q, k, v are the thirds of qkv(z)
    mlp(z) = fc2(gelu(fc1(z))),                   gelu(z) = z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 z^3)))
The final layer has a norm of the same kind, no gate and no residual:
    shift, scale = modulation(silu(c));           y = linear(norm(x) * (1 + scale) + shift)

Rules: everything that torch offers may be called. No dropout, no mask, no positions, no other factors. Neither x nor c is
modified. x, c and all parameters have one dtype, and so has the result; nothing is computed in a narrower one, and the
norms in float32 at least, before they are rounded to the dtype of x. Training and evaluation are the same. Features of x
and c, fc1's outputs and the products q k may be as large as 1e4 in every dtype: where the formula's result is finite, so
are the answer and its gradients.

Stage 1: parameters, the start at zero, both branches, the final layer.  Stage 2: heads, samples and tokens, sizes, wrong
arguments.  Stage 3: the first gradient steps, nothing in place, every dtype, large numbers.  Stage 4: FLOPs, no loops.

Source: Peebles and Xie, "Scalable Diffusion Models with Transformers" (2023), section 3.2.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class DiTBlock(nn.Module):
    """Attention and an MLP, each modulated and gated by the condition.

    Submodules: qkv = nn.Linear(dim, 3 dim), proj = nn.Linear(dim, dim), fc1 = nn.Linear(dim, hidden), fc2 =
    nn.Linear(hidden, dim), modulation = nn.Linear(dim, 6 dim), all with bias, where hidden is int(mlp_ratio * dim). The
    state_dict holds nothing else.

    The outputs of qkv are [q | k | v], dim each, and those of q, of k and of v are [heads, head_dim], head by head. The
    outputs of modulation are [shift1 | scale1 | gate1 | shift2 | scale2 | gate2], dim each; its input is silu(c).
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0) -> None:
        """Weight and bias of modulation are zeros at first. The other four weights are drawn as you like (nn.Linear's
        own way, Xavier's, ...), but not zeros.

        Raises ValueError if dim, heads or hidden is below 1, or if dim is no multiple of heads.
        """
        super().__init__()
        raise NotImplementedError("dit_block.DiTBlock.__init__: write me")

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], c: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """The block's formula; sample i is modulated by row i of c, all its tokens alike, and attends to itself only.

        A new block returns x bit by bit, whatever c is. FLOPs of matrix products for a sample: tokens * (8 dim^2 +
        4 dim * hidden + 4 tokens * dim), and 12 dim^2 for modulation, once and not for each token. The number of
        operators grows neither with the samples, nor with the tokens, nor with the heads.
        """
        raise NotImplementedError("dit_block.DiTBlock.forward: write me")


class FinalLayer(nn.Module):
    """From the stream to the pixels of the patches: a modulated norm and one linear layer.

    Submodules: linear = nn.Linear(dim, patch_size^2 * out_channels), modulation = nn.Linear(dim, 2 dim), both with bias;
    the state_dict holds nothing else. The outputs of modulation are [shift | scale]; its input is silu(c).
    """

    def __init__(self, dim: int, patch_size: int, out_channels: int) -> None:
        """All parameters are zeros at first, so that a new model predicts 0.

        Raises ValueError if one of the three arguments is below 1.
        """
        super().__init__()
        raise NotImplementedError("dit_block.FinalLayer.__init__: write me")

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], c: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch tokens patch_size*patch_size*out_channels"]:
        """linear(norm(x) * (1 + scale) + shift). The features of a patch are in whatever order the model is trained for.

        FLOPs: 2 tokens * dim * patch_size^2 * out_channels a sample, and 4 dim^2 for modulation, once a sample.
        """
        raise NotImplementedError("dit_block.FinalLayer.forward: write me")
