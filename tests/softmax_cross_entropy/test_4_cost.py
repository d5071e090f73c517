"""Stage 4. Few passes over the logits; the loss in chunks."""

import math

import pytest
import torch

from dojo.testing import (
    FLOATS,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_flat_operators,
    expect_traffic,
    expect_unchanged,
    numbers,
    randint,
    randn,
    roundings,
)
from dojo.testing.alive import Alive
from katas.softmax_cross_entropy import cross_entropy, cross_entropy_grad, linear_cross_entropy, log_sum_exp

from .helpers import OPTIONS, targets_of, tokens

TOKENS, VOCAB, DIM, CHUNK = 48, 400, 4, 4
WHOLE, PARAMETERS, ONE_CHUNK = TOKENS * VOCAB, (TOKENS + VOCAB) * DIM, CHUNK * VOCAB
EACH = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
CLOSE = roundings(2, torch.bfloat16, 0.5)
SUM = "add up what the chunks have, and divide by the tokens that count in all of them"


def states(rng, n, vocab, dim=4, dtype=torch.float64):
    """Hidden states, the weight of the last layer, targets."""
    return randn(rng, n, dim, dtype=dtype), randn(rng, vocab, dim, dtype=dtype), randint(rng, 0, vocab, n)


def test_the_loss_makes_few_passes_over_the_logits(rng, cost):
    """At n = 8192 and V = 128 256 in float32 one pass moves 4.2 GB. A one-hot matrix costs several, and as much memory
    as the logits again."""
    logits, targets = tokens(rng, 64, 500)
    with cost() as spent:
        cross_entropy(logits, targets)
    hint = "gather picks the target's logit without a one-hot matrix"
    expect_traffic(spent, logits, 9.2, what="cross_entropy", of="the logits", hint=hint)


@pytest.mark.parametrize("function", [log_sum_exp, cross_entropy, cross_entropy_grad], ids=lambda f: f.__name__)
def test_all_rows_are_processed_at_once(rng, function):
    """A python loop launches operators in proportion to what it runs over."""
    expect_flat_operators(
        function,
        lambda size: tokens(rng, *size)[: 1 if function is log_sum_exp else 2],
        [(4, 10), (64, 10), (4, 160)],
        what=function.__name__,
        hint="amax, sum and gather take all rows at once",
        slack=3,
    )


@EACH
@pytest.mark.parametrize("chunk_size", [1, 3, 8, 100])
def test_chunks_have_the_loss_of_the_whole(rng, chunk_size, options):
    """8 tokens in chunks that divide 8, that do not, and that are longer. Some targets are ignored, more in one chunk
    than in another: the mean of the chunks' means is another number."""
    hidden, weight, targets = states(rng, 8, 5)
    index = options.get("ignore_index", -100)
    targets = targets.where(targets != index, 4)
    targets[:2] = targets[4] = index
    with expect_unchanged(hidden, weight, targets, what="an argument"):
        got = linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size, **options)
    what = f"linear_cross_entropy of 8 tokens with chunk_size={chunk_size} and {options}"
    expect_close(got, cross_entropy(hidden @ weight.T, targets, **options), what=what, hint=SUM)


@EACH
@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_chunks_have_the_gradients_of_the_whole(rng, chunk_size, options):
    """The chain rule: dhidden = dlogits @ weight, dweight = dlogits.T @ hidden, summed over all chunks. The loss is
    multiplied by 2.5 before the backward pass, as loss scaling does."""
    hidden, weight, targets = states(rng, 8, 5)
    targets[:2] = targets[4] = options.get("ignore_index", -100)
    grad = 2.5 * cross_entropy_grad(hidden @ weight.T, targets, **options)
    want = {"hidden": grad @ weight, "weight": grad.T @ hidden}
    leaves = {"hidden": hidden.clone().requires_grad_(), "weight": weight.clone().requires_grad_()}
    loss = linear_cross_entropy(*leaves.values(), targets, chunk_size=chunk_size, **options)
    expect_close(loss, cross_entropy(hidden @ weight.T, targets, **options), what="linear_cross_entropy", hint=SUM)
    backward(2.5 * loss, what="linear_cross_entropy")
    for name, leaf in leaves.items():
        expect(leaf.grad is not None, f"{name} should get a gradient, but gets none", hint="detach nothing")
        what = f"the gradient of {name} of 2.5 times the loss, with chunk_size={chunk_size} and {options}"
        hint = "every chunk adds its part, and backward multiplies by the gradient that arrives"
        expect_close(leaf.grad, want[name], what=what, hint=hint)


def test_either_input_may_be_frozen(rng):
    """A frozen head, or hidden states without a gradient: the other one's gradient is as before."""
    hidden, weight, targets = states(rng, 7, 5)
    grad = cross_entropy_grad(hidden @ weight.T, targets)
    for name, want in (("hidden", grad @ weight), ("weight", grad.T @ hidden)):
        given = {"hidden": hidden, "weight": weight}
        leaf = given[name] = given[name].clone().requires_grad_()
        loss = linear_cross_entropy(**given, targets=targets, chunk_size=3)
        expect_equal(list(loss.shape), [], what="the loss's shape", hint="one number")
        backward(loss, what=f"the loss, where only {name} requires a gradient")
        expect_close(leaf.grad, want, what=f"the gradient of {name}, where only it requires one")


def test_nothing_to_count_is_zero_in_chunks(rng):
    """The loss and both gradients."""
    hidden, weight, _ = states(rng, 5, 4)
    leaves = hidden.requires_grad_(), weight.requires_grad_()
    loss = linear_cross_entropy(*leaves, targets_of(-100).expand(5), chunk_size=2, z_loss=0.1)
    expect_equal(loss, numbers(0)[0], what="linear_cross_entropy where all targets are ignored", hint="no 0 / 0")
    backward(loss, what="linear_cross_entropy")
    for leaf in leaves:
        expect_equal(leaf.grad.abs(), torch.zeros_like(leaf), what="its gradient", hint="no 0 / 0")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_chunks_work_in_every_floating_dtype(rng, dtype):
    """Logits up to 4 or so. Tolerance: 8 roundings of the largest logit, which products in that dtype make; the
    gradients, means over 6 tokens, get as many of the largest number in them."""
    hidden, weight, targets = (t.to(dtype) if t.is_floating_point() else t for t in states(rng, 6, 5))
    logits = hidden.double() @ weight.double().T
    grad = cross_entropy_grad(logits, targets)
    leaves = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    loss = linear_cross_entropy(*leaves, targets, chunk_size=4)
    expect_equal(loss.dtype, dtype, what=f"the loss's dtype for {dtype}", hint="convert back")
    close = roundings(8, dtype, logits)
    expect_close(loss.double(), cross_entropy(logits, targets), what=f"the loss in {dtype}, beside float64", **close)
    backward(loss, what="linear_cross_entropy")
    for name, leaf, want in (
        ("hidden", leaves[0], grad @ weight.double()),
        ("weight", leaves[1], grad.T @ hidden.double()),
    ):
        expect_equal(leaf.grad.dtype, dtype, what=f"the dtype of the gradient of {name}", hint="convert back")
        what = f"the gradient of {name} in {dtype}, beside float64"
        expect_close(leaf.grad.double(), want, what=what, **roundings(8, dtype, logits.abs().max() * want.abs().max()))


def test_sums_over_chunks_do_not_run_in_half_precision():
    """p = 1/2 for 33 tokens, one by one, each divided by total=1: the weight's gradient is the sum of +-hidden / 2, here
    of 16 times 0.0015, of 0.5, and of 16 times 0.0015 again. At 0.5 bfloat16 has steps of 0.004, so that what is added
    last would be lost."""
    small = torch.full((16, 1), 0.75 / 256)
    hidden = torch.cat([small, torch.ones(1, 1), small]).bfloat16()
    weight = torch.zeros(2, 1).bfloat16().requires_grad_()
    loss = linear_cross_entropy(hidden, weight, targets_of(0).expand(33), chunk_size=1, total=1)
    hint = "add up in float32, and convert the result"
    want = numbers(33 * math.log(2), dtype=torch.bfloat16)[0]
    expect_close(loss, want, what="the sum of 33 losses of log 2, in 33 chunks, in bfloat16", hint=hint)
    backward(loss, what="linear_cross_entropy")
    want = numbers(-0.546875, 0.546875, dtype=torch.bfloat16)[:, None]
    expect_close(
        weight.grad, want, what="the gradient of weight, summed over 33 chunks in bfloat16", hint=hint, **CLOSE
    )


def test_no_tensor_is_larger_than_a_chunk(rng, cost):
    """The whole logits would have 48 x 400 numbers; a chunk of 4 tokens has 4 x 400, and the weight as many."""
    hidden, weight, targets = states(rng, TOKENS, VOCAB, DIM)
    hidden.requires_grad_(), weight.requires_grad_()
    with cost() as spent:
        loss = linear_cross_entropy(hidden, weight, targets, chunk_size=CHUNK)
        backward(loss, what="linear_cross_entropy")
    sentence = (
        f"no new tensor should have more than {ONE_CHUNK} elements (chunk_size x vocab), but one has {spent.largest}"
    )
    hint = "hidden[start : start + chunk_size] @ weight.T, in the backward pass as well"
    expect(spent.largest <= ONE_CHUNK, sentence, hint=hint)
    products = spent.flops / (2 * TOKENS * VOCAB * DIM)
    sentence = (
        f"torch should make the logits and both gradients, but only {products:.2f} products of the size were seen"
    )
    expect(products >= 2.95, sentence, hint="hidden @ weight.T, dlogits @ weight, dlogits.T @ hidden")
    sentence = f"both passes should cost at most 4 products of the size of hidden @ weight.T, but cost {products:.2f}"
    expect(products <= 4.05, sentence, hint="form the logits once, or once more in the backward pass")


def test_a_chunk_is_forgotten_before_the_next(rng):
    """Chunks that stay in the graph until the backward pass take as much memory together as the whole. At most 8
    tensors of a chunk may be alive at a time, beside the gradients; after the forward pass, at most one."""
    hidden, weight, targets = states(rng, TOKENS, VOCAB, DIM)
    hidden.requires_grad_(), weight.requires_grad_()
    with Alive() as alive:
        loss = linear_cross_entropy(hidden, weight, targets, chunk_size=CHUNK)
        kept = alive.elements()
        backward(loss, what="linear_cross_entropy")
    hint = "make a chunk's gradient at once, or form its logits again in the backward pass"
    sentence = f"of {WHOLE} logits at most {ONE_CHUNK} should be alive after the forward pass, but {kept} numbers are"
    expect(kept <= ONE_CHUNK + 2 * PARAMETERS, sentence, hint=hint)
    most = 8 * ONE_CHUNK + 4 * PARAMETERS
    sentence = f"at most {most} numbers should be alive at a time, but {alive.peak} are ({WHOLE} logits in all)"
    expect(alive.peak <= most, sentence, hint=hint)
