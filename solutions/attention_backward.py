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

# kata: begin


def _wide(x: Tensor) -> Tensor:
    """x in float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _broadcast(*shapes: torch.Size) -> torch.Size:
    """The shape to which all of these broadcast. Raises ValueError if there is none."""
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError as error:
        raise ValueError(f"these shapes do not broadcast: {[list(shape) for shape in shapes]}") from error


def _scores(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """q k^T / sqrt(dim), [*batch, queries, keys], in float32 or better; -inf where the mask hides a key."""
    scores = (_wide(q) * q.shape[-1] ** -0.5) @ _wide(k).mT
    return scores if mask is None else scores.masked_fill(~mask, -torch.inf)


# kata: end


def matmul_backward(
    grad: Float[Tensor, "*out m n"], a: Float[Tensor, "*a m k"], b: Float[Tensor, "*b k n"]
) -> tuple[Float[Tensor, "*a m k"], Float[Tensor, "*b k n"]]:
    """(grad_a, grad_b) of a @ b, whose leading dimensions *a and *b broadcast to *out, as in torch.matmul.

    A matrix that served many products gets the sum of its gradients. It costs at most 2 products of the size of a @ b.
    Raises ValueError if a or b has fewer than two dimensions, if their shapes do not fit, or if grad does not have the
    shape of a @ b.
    """
    # kata: begin
    if min(a.dim(), b.dim()) < 2:
        raise ValueError(f"a and b need two dimensions at least, got {a.dim()} and {b.dim()}")
    shape = (*_broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    if a.shape[-1] != b.shape[-2] or grad.shape != shape:
        raise ValueError(f"{list(grad.shape)} is no gradient of a product of {list(a.shape)} and {list(b.shape)}")
    grad = _wide(grad)
    grad_a = grad @ _wide(b).mT  # [*out, m, n] x [*b, n, k] -> [*out, m, k]
    grad_b = _wide(a).mT @ grad  # [*a, k, m] x [*out, m, n] -> [*out, k, n]
    return grad_a.sum_to_size(a.shape).to(a.dtype), grad_b.sum_to_size(b.shape).to(b.dtype)
    # kata: end


def softmax_backward(grad: Float[Tensor, "*batch n"], probs: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """The gradient with respect to x of probs = softmax(x) over the last dimension.

    probs may hold exact zeros. A row of zeros alone has a gradient of 0. No new tensor has more elements than probs.
    Raises ValueError if grad does not have the shape of probs.
    """
    # kata: begin
    if grad.shape != probs.shape:
        raise ValueError(f"grad must have the shape of probs, {list(probs.shape)}, got {list(grad.shape)}")
    inner, p = _wide(grad), _wide(probs)
    # Raising all of x changes nothing, so the mean of the gradient, weighted by p, is taken out.
    return (p * (inner - (p * inner).sum(-1, keepdim=True))).to(probs.dtype)
    # kata: end


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
    # kata: begin
    shape = torch.Size([*q.shape[:-1], k.shape[-2]])
    if k.shape != (*q.shape[:-2], shape[-1], q.shape[-1]) or v.shape[:-1] != k.shape[:-1]:
        raise ValueError(f"q, k and v do not fit: {list(q.shape)}, {list(k.shape)}, {list(v.shape)}")
    if mask is not None and (mask.dtype != torch.bool or _broadcast(mask.shape, shape) != shape):
        raise ValueError(f"mask must be boolean and broadcast to {list(shape)}, got {mask.dtype} {list(mask.shape)}")
    scores = _scores(q, k, mask)
    # If nothing is seen, the maximum is -inf, and -inf - (-inf) would be NaN.
    highest = scores.amax(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    exps = (scores - highest).exp()
    # The largest term is exp(0) = 1, so only a sum over nothing is below 1.
    total = exps.sum(-1, keepdim=True).clamp(min=1.0)
    out = (exps / total) @ _wide(v)
    # Two numbers a query give the probabilities back: lse = highest + log(total) alone would lose digits at 3e4.
    return out.to(q.dtype), (q, k, v, mask, out, highest, total)
    # kata: end


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
    # kata: begin
    q, k, v, mask, out, highest, total = saved
    if grad.shape != out.shape:
        raise ValueError(f"grad must have the shape of out, {list(out.shape)}, got {list(grad.shape)}")
    grad = _wide(grad)
    probs = (_scores(q, k, mask) - highest).exp() / total  # [*batch, queries, keys], as they were
    grad_v = probs.mT @ grad
    grad_probs = grad @ _wide(v).mT
    # softmax_backward(grad_probs, probs): the sum over keys of probs * grad_probs is the sum over features of out * grad.
    grad_scores = probs * (grad_probs - (out * grad).sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
    grad_q = grad_scores @ _wide(k)
    grad_k = grad_scores.mT @ _wide(q)
    return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype)
    # kata: end
