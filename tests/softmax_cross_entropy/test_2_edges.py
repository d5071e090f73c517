"""Stage 2. Batches, smoothing, ignored targets, z-loss, total, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.softmax_cross_entropy import cross_entropy, cross_entropy_grad, linear_cross_entropy, log_sum_exp

from .helpers import OPTIONS, one_by_one, targets_of, tokens, wrong_calls

INF = float("inf")
WORKED = numbers(1, 2, 5).log()[None]  # lse = log 8, the mean of the logits is log(10) / 3
EACH = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (6, 6), (2, 3, 6), (3, 1)], ids=str)
def test_log_sum_exp_reduces_the_last_dimension(rng, shape):
    """Any leading dimensions, also none. At batch == n, a reduction along the wrong axis has the right shape."""
    x = randn(rng, *shape)
    with expect_unchanged(x, what="x"):
        got = log_sum_exp(x)
    expect_equal(list(got.shape), list(shape[:-1]), what="the result's shape", hint="the last dimension is gone")
    want = torch.stack([log_sum_exp(row) for row in x.reshape(-1, shape[-1])]).reshape(shape[:-1])
    hint = "dim=-1 in the maximum and in the sum"
    expect_close(got, want, what=f"log_sum_exp of {list(shape)}, against its rows", hint=hint)


def test_log_sum_exp_of_nothing_is_minus_infinity():
    """log 0. With the maximum subtracted it becomes -inf - (-inf) = NaN, and one such row would spoil a whole batch."""
    x = torch.tensor([[-INF, -INF, -INF], [-INF, 0.0, math.log(3)], [1.0, -INF, -INF]]).double()
    hint = "where the maximum is -inf, subtract 0 instead"
    expect_equal(log_sum_exp(x[0]), numbers(-INF)[0], what="log_sum_exp([-inf, -inf, -inf])", hint=hint)
    want = numbers(-INF, math.log(4), 1)
    expect_close(log_sum_exp(x), want, what="log_sum_exp with tokens of -inf", hint=hint)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 0.9])
def test_smoothing_spreads_over_all_classes(smoothing):
    """(1 - e) times the target's loss, e times the mean over all classes, the target included, as torch does it.
    Spread over the other classes alone, the target would get less."""
    loss_of_target, mean = math.log(4), math.log(8) - math.log(10) / 3
    want = numbers((1 - smoothing) * loss_of_target + smoothing * mean)[0]
    got = cross_entropy(WORKED, targets_of(1), label_smoothing=smoothing)
    hint = "(1 - e) * (lse - z_target) + e * mean_j(lse - z_j)"
    expect_close(got, want, what=f"cross_entropy([log [1, 2, 5]], [1], label_smoothing={smoothing})", hint=hint)
    got, want = cross_entropy(torch.zeros(3, 20).double(), targets_of(1, 5, 9), label_smoothing=smoothing), math.log(20)
    expect_close(got, numbers(want)[0], what="the loss of 20 equal logits, smoothed", hint="log V, whatever e is")


@pytest.mark.parametrize("weight", [1e-3, 2.0])
def test_the_z_loss_is_the_square_of_log_sum_exp(weight):
    """It pulls lse towards 0; the softmax itself does not see a constant that is added to all logits."""
    for shift in (0.0, -3.0):
        want = numbers(math.log(4) + weight * (math.log(8) + shift) ** 2)[0]
        got = cross_entropy(WORKED + shift, targets_of(1), z_loss=weight)
        what = f"cross_entropy([log [1, 2, 5] + {shift}], [1], z_loss={weight})"
        expect_close(got, want, what=what, hint="+ z_loss * lse**2, with the whole lse: the maximum is added back")


@EACH
def test_every_token_gets_the_options(rng, options):
    """The mean of the tokens' own losses, where all count; with `total`, their sum over `total`."""
    logits, targets = tokens(rng, 8, 5)
    targets = targets.where(targets != options.get("ignore_index", -100), 4)
    single = {**options, "total": None}
    divisor = options.get("total", len(targets))
    want = one_by_one(logits, targets, **single).sum() / divisor
    with expect_unchanged(logits, targets, what="an argument"):
        got = cross_entropy(logits, targets, **options)
    hint = f"the sum over the tokens divided by {divisor}, smoothing and z-loss included"
    expect_close(got, want, what=f"the loss of 8 tokens with {options}", hint=hint)


@pytest.mark.parametrize("index", [-100, -1, 2, 0])
@pytest.mark.parametrize("more", [{}, {"label_smoothing": 0.3, "z_loss": 0.2}], ids=["plain", "with options"])
def test_ignored_tokens_might_as_well_not_be_there(rng, index, more):
    """They add nothing, not even by smoothing or z-loss, and the mean is over the others. What their logits are does
    not matter. If ignore_index is a class, that class still takes part in the softmax of the other tokens."""
    logits, targets = tokens(rng, 9, 5)
    targets = targets.where(targets != index, 4)
    ignored = torch.tensor([0, 1, 0, 0, 1, 0, 0, 0, 1]).bool()
    targets[ignored] = index
    options = {"ignore_index": index, **more}
    want = cross_entropy(logits[~ignored], targets[~ignored], **more)
    hint = "count = targets != ignore_index; mask each term of the loss, and divide by the number that counts"
    got, what = cross_entropy(logits, targets, **options), f"the loss with 3 of 9 targets {index} and {options}"
    expect_close(got, want, what=f"{what}, against the other 6", hint=hint)
    logits[ignored] = 100 * randn(rng, 3, 5)
    got = cross_entropy(logits, targets, **options)
    expect_close(got, want, what=f"{what}, the logits of the ignored tokens changed", hint=hint)


@EACH
def test_nothing_to_count_is_zero(rng, options):
    """0 / 0 would turn the step into NaN: a micro-batch may hold nothing but padding."""
    index = options.get("ignore_index", -100)
    got = cross_entropy(randn(rng, 3, 5), targets_of(index, index, index), **options)
    hint = "divide by the number of tokens that count, or by 1 if there are none"
    expect_equal(got, numbers(0)[0], what="the loss where all targets are ignored", hint=hint)


@EACH
def test_micro_batches_add_up(rng, options):
    """Gradient accumulation over 6, 1 and 5 tokens, some of them ignored: the mean of the means is another number."""
    logits, targets = tokens(rng, 12, 5)
    index = options.get("ignore_index", -100)
    targets = targets.where(targets != index, 4)
    targets[torch.tensor([1, 2, 8])] = index
    whole = {**options, "total": options.get("total", 9)}
    parts = [
        cross_entropy(z, t, **whole) for z, t in zip(logits.split([6, 1, 5]), targets.split([6, 1, 5]), strict=True)
    ]
    hint = "with total, the sum of the losses is divided by total and by nothing else"
    want = cross_entropy(logits, targets, **options)
    expect_close(torch.stack(parts).sum(), want, what=f"the sum of 3 micro-batches with {whole}", hint=hint)


def test_the_order_of_the_classes_does_not_matter(rng):
    """Classes are names: permuted in logits and targets alike, they give the same loss. So do permuted tokens."""
    logits, targets = tokens(rng, 6, 6)
    order, options = torch.tensor([3, 5, 0, 2, 4, 1]), {"label_smoothing": 0.2, "z_loss": 0.1}
    want = cross_entropy(logits, targets, **options)
    got = cross_entropy(logits[:, order], order.argsort()[targets], **options)
    expect_close(got, want, what="the loss with the classes permuted")
    expect_close(cross_entropy(logits[order], targets[order], **options), want, what="the loss of permuted tokens")
    got = cross_entropy(logits.T.contiguous().T, targets, **options)
    expect_close(got, want, what="the loss of logits in another memory layout")


def test_wrong_arguments_are_errors():
    """A target of -1 would quietly read the last class."""
    for words, targets, options in wrong_calls():
        with expect_raises(ValueError, what=f"cross_entropy with {words}", hint="check before computing"):
            cross_entropy(torch.zeros(2, 5), targets, **options)


def test_wrong_arguments_of_the_gradient_are_errors():
    """The same options, the same errors."""
    for words, targets, options in wrong_calls():
        with expect_raises(ValueError, what=f"cross_entropy_grad with {words}", hint="the same checks in both"):
            cross_entropy_grad(torch.zeros(2, 5), targets, **options)


def test_wrong_arguments_of_the_chunked_loss_are_errors():
    """The same options, the same errors, and a chunk has at least one token."""
    hidden, weight = torch.zeros(2, 3), torch.zeros(5, 3)
    for chunk_size in (0, -2):
        with expect_raises(ValueError, what=f"linear_cross_entropy with chunk_size={chunk_size}"):
            linear_cross_entropy(hidden, weight, targets_of(0, 3), chunk_size=chunk_size)
    for words, targets, options in wrong_calls():
        with expect_raises(ValueError, what=f"linear_cross_entropy with {words}", hint="the same checks in all"):
            linear_cross_entropy(hidden, weight, targets, chunk_size=1, **options)
