"""The backward pass of attention, by hand.

No autograd: write the backward pass of a matmul with broadcasting, of softmax, and of attention. What do you keep from
the forward pass?

A backward function takes grad, the gradient of a loss with respect to the forward function's result, and returns the
gradients with respect to its inputs. With d = dim, the last size of q,
    S = q k^T / sqrt(d),   P = softmax(S) over the keys,   out = P v
`*batch` is any number of leading dimensions, also none; every size is at least 1. All tensors of a call have one dtype,
but for the mask, and every gradient has exactly the shape and the dtype of its input.

Numbers: float16, bfloat16, float32 and float64. Products and sums run in float32 at least, so what overflows float16 on
the way does no harm where the result does not; results are rounded to the inputs' dtype at the end. Numbers that are
kept from the forward pass are in float32 at least, but out may be kept as it is returned. No argument is modified, and
any of them may be non-contiguous, also expanded from one number.

Rules: autograd is forbidden in all its forms (torch.autograd, torch.func, requires_grad_, .backward()), and so are
scaled_dot_product_attention, torch.nn.attention and torch's ready-made backward operators. torch.softmax, torch.matmul
and torch.einsum are allowed. All four functions work under torch.inference_mode(). Compute with torch.

Stage 1: matmul of matrices, softmax, attention without a mask.  Stage 2: broadcasting, any leading dimensions, masks,
queries that see nothing, wrong arguments.  Stage 3: every dtype, scores of 3e4, sums beyond float16.  Stage 4: no
probabilities are kept from the forward pass, every product is done once, and no loop runs over the batch.

Sources: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1; Dao et al., "FlashAttention: Fast and
Memory-Efficient Exact Attention with IO-Awareness" (2022), section 3.1 and appendix B, for what the backward pass needs.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def matmul_backward(
    grad: Float[Tensor, "*out m n"], a: Float[Tensor, "*a m k"], b: Float[Tensor, "*b k n"]
) -> tuple[Float[Tensor, "*a m k"], Float[Tensor, "*b k n"]]:
    """(grad_a, grad_b) of a @ b, whose leading dimensions *a and *b broadcast to *out, as in torch.matmul.

    A matrix that served many products gets the sum of its gradients. It costs at most 2 products of the size of a @ b.
    Raises ValueError if a or b has fewer than two dimensions, if their shapes do not fit, or if grad does not have the
    shape of a @ b.
    """
    raise NotImplementedError("attention_backward.matmul_backward: write me")


def softmax_backward(grad: Float[Tensor, "*batch n"], probs: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """The gradient with respect to x of probs = softmax(x) over the last dimension.

    probs may hold exact zeros. A row of zeros alone has a gradient of 0. No new tensor has more elements than probs.
    Raises ValueError if grad does not have the shape of probs.
    """
    raise NotImplementedError("attention_backward.softmax_backward: write me")


def attention_forward(
    q: Float[Tensor, "*batch queries dim"],
    k: Float[Tensor, "*batch keys dim"],
    v: Float[Tensor, "*batch keys value_dim"],
    mask: Bool[Tensor, "*#batch #queries #keys"] | None = None,
) -> tuple[Float[Tensor, "*batch queries value_dim"], Any]:
    """(out, saved): softmax(q k^T / sqrt(dim)) v, and whatever attention_backward will need.

    `mask` is True where a query may see a key, in any shape that broadcasts to [*batch, queries, keys] ([keys] alone,
    too). A query that may see nothing has exactly zeros in out. Scores up to +-3e4 must work in every dtype.

    `saved` is yours: any object. Until the backward pass the caller leaves the arguments and out as they are, so it may
    refer to them. One `saved` may be used more than once, and other forward passes may run in between. After the call,
    at most twice as many new numbers as q, k, v and out have together may still be in memory, out included: the
    probabilities are not among them. It costs at most 2 products of the size of q k^T.

    Raises ValueError if the shapes of q, k and v do not fit, or if the mask is not boolean or does not broadcast to
    that shape.
    """
    raise NotImplementedError("attention_backward.attention_forward: write me")


def attention_backward(
    grad: Float[Tensor, "*batch queries value_dim"], saved: Any
) -> tuple[
    Float[Tensor, "*batch queries dim"], Float[Tensor, "*batch keys dim"], Float[Tensor, "*batch keys value_dim"]
]:
    """(grad_q, grad_k, grad_v) of out, from the `saved` of attention_forward.

    A query that sees nothing has a zero gradient and adds nothing to the others. A key that nobody sees has zero gradients,
    and so has its value, whatever numbers up to 1e4 they hold. It costs at most 5 products of the size of q k^T, and no new
    tensor has more elements than q k^T or the largest input.

    Raises ValueError if grad does not have the shape of out.
    """
    raise NotImplementedError("attention_backward.attention_backward: write me")
