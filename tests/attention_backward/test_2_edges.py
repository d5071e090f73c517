"""Stage 2. Broadcasting, any leading dimensions, masks, queries that see nothing, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from dojo.testing.attention import some_mask
from katas.attention_backward import attention_backward, attention_forward, matmul_backward, softmax_backward

from .helpers import (
    NAMES,
    by_autograd,
    forward,
    gradients,
    parts,
    product_gradients,
    qkv,
    shaped,
    torch_attention,
    wrong_attention,
    wrong_products,
)

BATCHES = [
    ((2,), (2,)),
    ((3,), ()),
    ((), (2, 3)),
    ((2, 1), (1, 3)),
    ((1,), (4,)),
    ((1, 1), ()),
    ((2, 3), (3,)),
    ((3, 1, 2), (2, 1)),
    ((3, 3), (3, 1)),
]
SHARED = "sum over the dimensions that broadcasting added or stretched; those of size 1 stay"
ONE = {"queries": 3, "keys": 3, "dim": 3, "value_dim": 3}
ROWS = "transpose the last two dimensions only: .transpose(-2, -1) or .mT"


@pytest.mark.parametrize("batches", BATCHES, ids=str)
@pytest.mark.parametrize("size", [(2, 3, 4), (3, 3, 3)], ids=str)
def test_broadcast_matrices_get_the_sum_of_their_gradients(rng, batches, size):
    """A weight serves every row of a batch. With sizes of 3 everywhere a sum over the wrong axis has the right shape."""
    (m, k, n), (more_a, more_b) = size, batches
    a, b = randn(rng, *more_a, m, k), randn(rng, *more_b, k, n)
    grad = randn(rng, *torch.broadcast_shapes(more_a, more_b), m, n)
    words = f"a {list(a.shape)}, b {list(b.shape)} and grad {list(grad.shape)}"
    with called_for(words, hint=SHARED), expect_unchanged(grad, a, b, what="an argument"):
        got = product_gradients(grad, a, b)
    _, want = by_autograd(torch.matmul, (a, b), grad)
    for name, one, other in zip(("grad_a", "grad_b"), got, want, strict=True):
        what = f"{name} of matmul_backward for a {list(a.shape)} and b {list(b.shape)}, against autograd"
        expect_close(one, other, what=what, hint=f"{SHARED}; {ROWS}")


@pytest.mark.parametrize("shape", [(), (3, 3), (2, 1, 4), (2, 3, 2, 5)], ids=lambda s: str([*s]))
def test_softmax_backward_takes_the_last_dimension(rng, shape):
    """Any leading dimensions, also none."""
    shape = shape or (4,)
    grad, x = randn(rng, *shape), randn(rng, *shape)
    probs, (want,) = by_autograd(lambda leaf: leaf.softmax(-1), [x], grad)
    with expect_unchanged(grad, probs, what="an argument"):
        got = softmax_backward(grad, probs)
    what, hint = f"softmax_backward for shape {[*shape]}, against autograd", "sum(-1, keepdim=True): row by row"
    expect_close(got, want, what=what, hint=hint)


@pytest.mark.parametrize("batch", [(3,), (2, 1), (3, 3), (2, 1, 2)], ids=str)
def test_attention_has_any_leading_dimensions(rng, batch):
    """Batch, heads, or more; all sizes are 3, so that exchanged axes have the right shapes."""
    q, k, v = qkv(rng, *batch, **ONE)
    grad = randn(rng, *q.shape)
    want_out, want = torch_attention(q, k, v, grad=grad)
    with expect_unchanged(grad, q, k, v, what="an argument"):
        out, saved = forward(q, k, v)
        got = shaped(attention_backward(grad, saved), (q, k, v), NAMES, "attention_backward")
    expect_close(out, want_out, what=f"out for q {list(q.shape)}, against torch's attention", hint=ROWS)
    for name, one, other in zip(NAMES, got, want, strict=True):
        expect_close(one, other, what=f"{name} for q {list(q.shape)}, against autograd of torch's attention", hint=ROWS)


def test_inputs_may_be_expanded_or_transposed(rng):
    """The gradient of a sum is one number, expanded: .view() fails on such inputs, and so does a change in place."""
    grads = {
        "grad expanded from one number": randn(rng, 1).expand(3, 3),
        "one row for a grad of a batch": randn(rng, 3).expand(2, 3, 3),
        "a transposed grad": randn(rng, 2, 3, 3).mT,
    }
    for words, grad in grads.items():
        transposed = [x.mT.contiguous().mT for x in qkv(rng, *grad.shape[:-2], **ONE)]
        results = []
        for q, k, v, g in (
            (*transposed, grad),
            [x.clone(memory_format=torch.contiguous_format) for x in (*transposed, grad)],
        ):
            with called_for(words, hint="reshape in place of view, and nothing in place"):
                results.append([*product_gradients(g, q, k), softmax_backward(g, v.softmax(-1))])
                results[-1] += gradients(g, q, k, v).values()
        for name, got, want in zip(("grad_a", "grad_b", "softmax_backward", *NAMES), *results, strict=True):
            expect_close(
                got, want, what=f"{name} for {words}, against contiguous inputs", hint="work on logical shapes"
            )


@pytest.mark.parametrize(
    "shape", [(2, 4, 5), (4, 5), (5,), (2, 1, 5), (1, 4, 5), (1, 1), (3, 3, 3)], ids=lambda s: "mask " + str([*s])
)
def test_masks_of_every_shape_hide_keys(rng, shape):
    """True = attend. The softmax is over the keys that are seen, and so is its backward pass. [3, 3, 3] is a mask of the
    heads: q is [3, 3, 3, 3], so that exchanged axes have the right shapes."""
    q, k, v = qkv(rng, 3, 3, **ONE) if shape == (3, 3, 3) else qkv(rng, 2)
    mask, grad = some_mask(rng, *shape), randn(rng, *q.shape[:-1], v.shape[-1])
    want_out, want = torch_attention(q, k, v, mask, grad)
    before = mask.clone()
    out, saved = forward(q, k, v, mask)
    hint = "scores.masked_fill(~mask, -inf) before the softmax, in both passes; True = attend"
    expect_close(out, want_out, what=f"out with a mask {[*shape]}, against torch's attention", hint=hint)
    got = shaped(attention_backward(grad, saved), (q, k, v), NAMES, "attention_backward")
    for name, one, other in zip(NAMES, got, want, strict=True):
        what = f"{name} with a mask {[*shape]}, against autograd of torch's attention"
        expect_close(one, other, what=what, hint=hint)
    expect_equal(mask, before, what="the mask after both passes", hint="it is the caller's: ~mask makes a new one")


def test_a_key_that_nobody_sees_has_no_gradient(rng):
    """Exactly zero, whatever stands there (1e4 here), and the others' gradients are those without it."""
    (q, k, v), grad = qkv(rng, 2, keys=5), randn(rng, 2, 4, 2)
    k[:, 2], v[:, 2] = 1e4, -1e4
    seen = torch.tensor([0, 1, 3, 4])
    got = gradients(grad, q, k, v, torch.arange(5) != 2)
    want = gradients(grad, q, k[:, seen], v[:, seen])
    hint = "a hidden key has probability 0, and dS = P * (...) is 0 there"
    for name in ("grad_k", "grad_v"):
        what = f"{name} of a key that nobody sees, whose numbers are 1e4"
        expect_equal(got[name][:, 2].abs(), torch.zeros_like(got[name][:, 2]), what=what, hint=hint)
        expect_close(got[name][:, seen], want[name], what=f"{name} of the keys that are seen", hint=hint)
    expect_close(got["grad_q"], want["grad_q"], what="grad_q, against attention without the hidden key", hint=hint)


@pytest.mark.parametrize("how", ["one query", "all queries of one matrix", "a mask [queries, 1]", "all"])
def test_a_query_that_sees_nothing_is_zero_everywhere(rng, how):
    """A softmax over nothing is 0 / 0, and one NaN in grad_k or grad_v reaches every weight of the model."""
    (q, k, v), grad = qkv(rng, 2), randn(rng, 2, 4, 2)
    mask = some_mask(rng, 2, 4, 5)
    if how == "one query":
        mask[1, 2] = False
    elif how == "a mask [queries, 1]":
        mask = torch.tensor([1, 0, 1, 0]).bool()[:, None]
    else:
        mask[0 if how == "all" else 1 :] = False
    empty = ~mask.expand(2, 4, 5).any(-1)
    out, saved = forward(q, k, v, mask)
    hint = "where nothing is seen, the probabilities are 0: in the forward pass, and when they are formed again"
    what = f"where a query sees nothing ({how})"
    expect_equal(out[empty].abs(), torch.zeros_like(out[empty]), what=f"out {what}", hint=hint)
    got = shaped(attention_backward(grad, saved), (q, k, v), NAMES, "attention_backward")
    expect_equal(got[0][empty].abs(), torch.zeros_like(q[empty]), what=f"grad_q {what}", hint=hint)
    visible = mask | empty[..., None]  # they see everything, and get no gradient
    want = gradients(grad.masked_fill(empty[..., None], 0.0), q, k, v, visible)
    for name, one in zip(NAMES, got, strict=True):
        other = want[name].masked_fill(empty[..., None], 0.0) if name == "grad_q" else want[name]
        expect_close(one, other, what=f"{name} {what}, against the other queries alone", hint=hint)


def test_saved_serves_more_than_once(rng):
    """Two backward passes from one `saved`, with other forward passes in between: the gradients are linear in grad."""
    (q, k, v), mask = qkv(rng, 2), some_mask(rng, 4, 5)
    one, two = randn(rng, 2, 4, 2), randn(rng, 2, 4, 2)
    want = gradients(one - 2 * two, q, k, v, mask)
    out, saved = forward(q, k, v, mask)
    before = out.clone()
    forward(*qkv(rng, 2, queries=3))
    first = shaped(attention_backward(one, saved), (q, k, v), NAMES, "attention_backward")
    forward(*qkv(rng, 2))
    first = [part.clone() for part in first]
    second = shaped(attention_backward(two, saved), (q, k, v), NAMES, "attention_backward")
    hint = "keep everything in `saved`, nothing in the module, and change none of it"
    expect_equal(out, before, what="out after two backward passes", hint=hint)
    for name, a, b in zip(NAMES, first, second, strict=True):
        what = f"{name}(g) - 2 {name}(h) of one `saved`, against {name}(g - 2 h)"
        expect_close(a - 2 * b, want[name], what=what, hint=hint)


def test_shapes_of_products_that_do_not_fit_are_errors():
    """One-dimensional operands, sizes that differ, batches that do not broadcast, a grad of another shape."""
    for words, given in wrong_products():
        with expect_raises(ValueError, what=f"matmul_backward with {words}", hint="compare all shapes first"):
            matmul_backward(*given)


def test_a_gradient_of_another_shape_is_an_error(rng):
    """It would broadcast without a word."""
    probs = randn(rng, 3, 4).softmax(-1)
    q, k, v = qkv(rng, 2)
    _, saved = parts(attention_forward(q, k, v), ("out", "saved"), "attention_forward")
    hint = "grad has the shape of the forward pass's result"
    for shape in ((4,), (3, 1), (1, 4), (2, 3, 4)):
        with expect_raises(ValueError, what=f"softmax_backward with grad {[*shape]} and probs [3, 4]", hint=hint):
            softmax_backward(randn(rng, *shape), probs)
    for shape in ((4, 2), (2, 4, 1), (2, 1, 2), (1, 4, 2), (2, 2, 4, 2), (2, 3, 2)):
        with expect_raises(ValueError, what=f"attention_backward with grad {[*shape]} and out [2, 4, 2]", hint=hint):
            attention_backward(randn(rng, *shape), saved)


def test_shapes_of_attention_that_do_not_fit_are_errors():
    """Also masks: a float mask is one for adding, which is another convention."""
    for words, given in wrong_attention():
        with expect_raises(ValueError, what=f"attention_forward with {words}", hint="compare all shapes first"):
            attention_forward(*given)
