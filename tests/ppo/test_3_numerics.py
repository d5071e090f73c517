"""Stage 3. Gradients on all sides of the clips, huge ratios, banned tokens, NaN under the mask, every dtype."""

import math

import pytest
import torch

import katas.ppo
from dojo.testing import (
    FLOATS,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_graph,
    numbers,
    randn,
    roundings,
)
from katas.ppo import entropy, gae, token_rewards, value_loss, whiten

from .helpers import FILL, INF, NAN, WIDEN, clipped, full, masks, table, tokens
from .probe import arguments

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
RATIOS = [(1.5, 1, 0), (0.5, 1, -0.5), (1.5, -1, 1.5), (0.5, -1, 0), (1.0, 1, -1), (1.0, -1, 1), (1.1, 2, -2.2)]
CLIP = "no gradient where the clip bites, r A everywhere else: the minimum decides, not |r - 1| > clip"
LOSSES = {"policy_loss": lambda *given: clipped(*given)[0], "value_loss": value_loss}


def wide(dtype):
    """The dtype of the results."""
    return torch.promote_types(dtype, torch.float32)


def every(*columns, dtype):
    """Each column as one row of numbers."""
    return [torch.tensor([column], dtype=dtype) for column in columns]


@pytest.mark.parametrize(("ratio", "advantage", "want"), RATIOS, ids=str)
def test_the_gradient_on_all_sides_of_the_clip(ratio, advantage, want):
    """Minus r A, or exactly 0 where the token has already gone as far as the clip allows. A token that went the wrong
    way is always pulled back. The second token has advantage 0: the mean is over both."""
    log_probs = table([math.log(ratio) - 3, -3]).requires_grad_()
    loss, _ = clipped(log_probs, table([-3, -3]), table([advantage, 0]), full(1, 2))
    backward(loss, what="the policy loss")
    what = f"the gradient of log_probs at ratio {ratio}, advantage {advantage}, and at advantage 0"
    expect_close(log_probs.grad, table([want / 2, 0]), what=what, hint=CLIP)


@pytest.mark.parametrize(
    ("value", "target", "want"), [(3, 2, 1), (2, 2.25, 0), (0, -1, 0), (2, 0.5, 1.5), (1.25, 3, -1.75)], ids=str
)
def test_the_gradient_of_the_value_loss(value, target, want):
    """At old=1, clip=0.5: V - R, or 0 where V has moved further than the clip and its clipped self is the worse one."""
    values = table([value, 1]).requires_grad_()
    backward(value_loss(values, table([1, 1]), table([target, 1]), full(1, 2), 0.5), what="the value loss")
    what = f"the gradient of values at V={value}, old=1, R={target}, and where V = old = R"
    expect_close(values.grad, table([want / 2, 0]), what=what, hint="max of the two errors, not a clipped V alone")


def test_gradients_agree_with_finite_differences(rng):
    """Of the losses by their first argument, and of the entropy, with holes in the mask."""
    first, *rest, mask = tokens(rng, 2, 5)
    for name, loss in LOSSES.items():
        expect_gradients(lambda x, loss=loss: loss(x, *rest, mask), [first], what=name)
    logits = randn(rng, 2, 5, 3)
    expect_gradients(lambda x: entropy(x, mask), [logits], what="entropy")


@pytest.mark.parametrize("function", LOSSES)
def test_gradients_reach_the_first_argument_only(rng, function):
    """Old numbers, advantages and returns are data, even if they come with a graph."""
    *given, mask, _ = arguments(rng)[function]  # whatever is drawn, each of them has an influence
    leaves = [x.detach().requires_grad_() for x in given]
    backward(LOSSES[function](*leaves, mask), what=function)
    expect(leaves[0].grad is not None and leaves[0].grad.any(), f"{function} should train its first argument")
    for name, leaf in zip(("second", "third"), leaves[1:], strict=True):
        idle = leaf.grad is None or not leaf.grad.any()
        expect(idle, f"the {name} argument of {function} should get no gradient, but gets one", hint="detach() it")


def test_what_is_data_carries_no_graph(rng):
    """Rewards, advantages, returns and the clip fraction are numbers. With a graph, the policy loss would train the
    value function by way of the advantages."""
    for name, given in arguments(rng).items():
        given = [x.requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in given]
        got = getattr(katas.ppo, name)(*given)
        if name in ("policy_loss", "value_loss", "entropy"):
            expect_graph(got[0] if name == "policy_loss" else got, what=f"the result of {name}")
        got = list(got) if isinstance(got, tuple | list) else [got]
        for each in {"policy_loss": got[1:], "value_loss": [], "entropy": []}.get(name, got):
            what = "the clip fraction" if name == "policy_loss" else f"what {name} returns"
            expect(not each.requires_grad, f"{what} should carry no graph, but does", hint="detach() the arguments")


@pytest.mark.parametrize("junk", [NAN, INF, -INF, 1e30])
@pytest.mark.parametrize("name", ["policy_loss", "value_loss", "entropy"])
def test_nothing_under_the_mask_reaches_the_gradient(rng, name, junk):
    """torch.where after an exp is not enough: forward it hides a NaN, backward it multiplies it by 0."""
    *given, mask = tokens(rng, 2, 6)
    given[2] = given[2].where(mask, -1.0)  # an advantage below 0, where no upper limit hides an infinite ratio
    given = [torch.stack(given, -1)] if name == "entropy" else given
    loss, keep = {**LOSSES, "entropy": entropy}[name], mask.unsqueeze(-1) if name == "entropy" else mask
    want = None
    for junky in [(), (0,), (len(given) - 1,), tuple(range(len(given)))]:
        columns = [x.where(keep, junk) if i in junky else x.clone() for i, x in enumerate(given)]
        leaf = columns[0].requires_grad_()
        backward(loss(leaf, *columns[1:], mask), what=name)
        want = leaf.grad if want is None else want
        which = "every argument" if len(junky) > 1 else f"argument {junky[0]} alone" if junky else "nothing"
        what = f"the gradient of {name} with {junk} under the mask of {which}"
        expect_close(leaf.grad, want, what=what, hint=FILL)
        expect_equal(leaf.grad[~mask].abs(), torch.zeros_like(leaf.grad[~mask]), what=what + ", there", hint=FILL)


@pytest.mark.parametrize("name", ["policy_loss", "value_loss", "entropy"])
def test_where_nothing_is_true_there_is_a_graph(rng, name):
    """A batch in which nothing counts adds nothing, and does not stop the training with an error or NaN."""
    *given, mask = tokens(rng, 2, 3)
    given = [torch.stack([given[0], given[1]], -1)] if name == "entropy" else given
    leaf = given[0].requires_grad_()
    got = {**LOSSES, "entropy": entropy}[name](leaf, *given[1:], mask & False)
    backward(got, what=f"{name} where nothing is True", hint="a masked sum, not a new zero")
    grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    expect_equal(grad.abs(), torch.zeros_like(leaf), what=f"the gradient of {name} where nothing is True")


@EVERY
def test_huge_ratios(dtype):
    """exp(1e4) is infinite, also in float64, and 0 times infinity is NaN: in the loss where the advantage is 0, in the
    gradient where it is positive. Here the ratios are huge, huge and tiny, tiny."""
    log_probs, old, advantages = every([-4, -4, -8192, -8192], [-8192, -8192, -4, -4], [2, 0, 3, -5], dtype=dtype)
    loss, share = clipped(log_probs.requires_grad_(), old, advantages, full(1, 4), 0.25)
    hint = "with A >= 0 the loss needs exp(min(log-ratio, log(1 + clip))): clip before the exponential"
    what = f"of log-ratios +-8188 with advantages [2, 0, 3, -5] in {dtype}"
    close = roundings(16, wide(dtype), 6)
    expect_close(loss, numbers(1.25 / 4, dtype=wide(dtype))[0], what=f"the policy loss {what}", hint=hint, **close)
    expect_close(share, numbers(0.5, dtype=wide(dtype))[0], what=f"the clip fraction {what}", hint=hint)
    backward(loss, what="the policy loss")
    zeros = torch.zeros(1, 4, dtype=dtype)
    expect_equal(log_probs.grad.abs(), zeros, what=f"the gradient {what}", hint=hint)


@pytest.mark.parametrize("log_ratio", [2.0, 5.0, 15.0])
def test_large_ratios_with_a_negative_advantage_are_not_clipped(log_ratio):
    """What has become likelier although it was bad costs r |A|, however large r is."""
    log_probs = table([log_ratio]).requires_grad_()
    loss, _ = clipped(log_probs, table([0]), table([-2]), full(1, 1))
    want = numbers(2 * math.exp(log_ratio))[0]
    backward(loss, what="the policy loss")
    for name, got in (("the policy loss", loss), ("its gradient", log_probs.grad[0, 0])):
        what = f"{name} at log-ratio {log_ratio} and advantage -2"
        expect_close(got, want, what=what, hint="no clamp of the log-ratio there, no upper limit of the loss")


@EVERY
def test_banned_tokens_and_huge_logits(dtype):
    """p log p is 0 where p is 0, in value and in gradient. Here the entropy is log 2, log 2 and 0. Tolerance: 2
    roundings of the largest logit."""
    logits = torch.tensor([[[1, 1, -INF], [8192, -8192, 8192], [-8192, 0, -INF]]], dtype=dtype).requires_grad_()
    got = entropy(logits, full(1, 3))
    hint = "log_softmax, and nothing of the form 0 * -inf, 0 / 0 or log(p + epsilon)"
    want = numbers(2 * math.log(2) / 3, dtype=wide(dtype))[0]
    what = f"the entropy of [1, 1, -inf], [8192, -8192, 8192] and [-8192, 0, -inf] in {dtype}"
    expect_close(got, want, what=what, hint=hint, **roundings(2, wide(dtype), 8192))
    backward(got, what="the entropy")
    close = roundings(2, wide(dtype), 8192)
    expect_close(logits.grad, torch.zeros(1, 3, 3, dtype=dtype), what=f"the gradient of {what}", hint=hint, **close)


@EVERY
def test_results_are_float32_at_least(rng, dtype):
    """Half precision is for storage: every function computes and returns float32, and float64 for float64. Inputs are
    multiples of 1/8 below 32, exact in every dtype but bfloat16's largest. Tolerance: 64 roundings of the largest number."""
    for name, given in arguments(rng).items():
        exact = [(8 * x).round() / 8 if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in given]
        narrow = [x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in exact]
        got, want = getattr(katas.ppo, name)(*narrow), getattr(katas.ppo, name)(*exact)
        for a, b in zip(*(x if isinstance(x, tuple | list) else [x] for x in (got, want)), strict=True):
            what = f"{name} in {dtype}"
            expect(isinstance(a, torch.Tensor), f"{name} should return tensors, but returned a {type(a).__name__}")
            expect_equal(a.dtype, wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
            largest = max(1.0, b.abs().max().item())
            expect_close(
                a.double(),
                b.double(),
                what=f"{what}, beside float64",
                hint=WIDEN,
                **roundings(64, wide(dtype), largest),
            )


@EVERY
def test_differences_are_taken_in_float32(dtype):
    """-130 and -1.0078125 are exact in every dtype, and their difference is not in half precision."""
    close = roundings(8, wide(dtype), 130)
    far, near = every([-130], [-1.0078125], dtype=dtype)
    got = token_rewards(numbers(0, dtype=dtype), far, near, full(1, 1), 1.0)
    want = table([128.9921875], dtype=wide(dtype))
    expect_close(
        got, want, what=f"the penalty for log_probs -130 and reference -1.0078125 in {dtype}", hint=WIDEN, **close
    )
    _, returns = gae(far, near, masks([0]), far[0], 0.0, 0.5)
    expect_close(
        returns, far.to(wide(dtype)), what=f"the return of reward -130, value -1.0078125 in {dtype}", hint=WIDEN
    )
    eps = torch.finfo(dtype).eps  # 1 + eps is exact, 3 - eps is not
    new, old = every([-1 - eps], [-4], dtype=dtype)
    loss, _ = clipped(new, old, -torch.ones_like(old), full(1, 1), 0.5)
    want = numbers(math.exp(3 - eps), dtype=wide(dtype))[0]
    expect_close(loss, want, what=f"the policy loss of log-ratio 3 - {eps:g} and advantage -1 in {dtype}", hint=WIDEN)
    values, old, returns = every([0, 300], [300, 300], [-1, -125], dtype=dtype)
    for i, want in enumerate((300.9**2 / 2, 425**2 / 2)):
        got = value_loss(*(x[:, i : i + 1] for x in (values, old, returns)), full(1, 1), 0.1)
        what = f"the value loss of {('V=0, old=300, R=-1', 'V=300, old=300, R=-125')[i]} at clip=0.1 in {dtype}"
        expect_close(got, numbers(want, dtype=wide(dtype))[0], what=what, hint=WIDEN + "; 425^2 overflows float16")


@EVERY
def test_many_tokens_lose_no_digits(dtype):
    """A running sum in half precision stops growing: 2048 + 1 is 2048 in float16. 3000 equal tokens have the mean of one."""
    ones = torch.ones(1, 3000, dtype=dtype)
    loss, _ = clipped(ones, ones, ones, full(1, 3000))
    expect_close(loss, numbers(-1, dtype=wide(dtype))[0], what=f"the policy loss of 3000 tokens in {dtype}", hint=WIDEN)
    got = value_loss(ones, ones, 0 * ones, full(1, 3000))
    expect_close(got, numbers(0.5, dtype=wide(dtype))[0], what=f"the value loss of 3000 tokens in {dtype}", hint=WIDEN)
    got = entropy(torch.zeros(1, 3000, 2, dtype=dtype), full(1, 3000))
    want = numbers(math.log(2), dtype=wide(dtype))[0]
    expect_close(got, want, what=f"the entropy of 3000 positions in {dtype}", hint=WIDEN)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_whitening_far_from_zero(rng, dtype):
    """1e4 +- 1: the square of 1e4 has steps of 8 in float32, so a difference of squares has no digit left."""
    x = randn(rng, 1, 64)
    got = whiten((x + 1e4).to(dtype), full(1, 64))
    hint = "subtract the mean first, then average the squares"
    want = whiten(x, full(1, 64)).to(dtype)
    expect_close(got, want, what=f"1e4 + x whitened in {dtype}, against x", hint=hint, rtol=0.0, atol=5e-3)


@EVERY
def test_long_episodes_keep_their_digits(dtype):
    """300 rewards of 1 without discount: 300, 299, ..., 1. bfloat16 counts to 256."""
    ones, zeros = torch.ones(1, 300, dtype=dtype), torch.zeros(1, 300, dtype=dtype)
    advantages, _ = gae(ones, zeros, zeros.bool(), zeros[:, 0], 1.0, 1.0)
    want = torch.arange(300, 0, -1)[None].to(wide(dtype))
    expect_close(advantages, want, what=f"the advantages of 300 rewards of 1 in {dtype}", hint=WIDEN)
