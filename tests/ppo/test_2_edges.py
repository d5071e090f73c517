"""Stage 2. Episodes that end in the middle, bootstrapping, masks, whitening, wrong arguments."""

import pytest
import torch

import katas.ppo
from dojo.testing import called_for, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.ppo import entropy, token_rewards, value_loss, whiten

from .helpers import DONE, FILL, INF, MEAN, NAN, clipped, episodes, estimates, full, masks, table, tokens
from .probe import WRONG, arguments, replaced

JUNK = [0.0, 7e5, NAN, INF]
LAST = "the last True entry of each row, wherever it is"
BOTH = ("the advantages", "the returns")


def test_a_done_speaks_about_its_own_step():
    """Step 0 ends an episode, so its advantage is 5 - 2, without the value 8 of the next episode's first state. Step 1
    does not end one: 1 + 4/2 - 8."""
    given = table([5, 1]), table([2, 8]), masks([1, 0]), numbers(4)
    advantages, returns = estimates(*given, gamma=0.5, lam=0.5)
    expect_close(advantages, table([3, -5]), what="the advantages where step 0 of 2 is done", hint=DONE)
    expect_close(returns, table([5, 3]), what="the returns where step 0 of 2 is done", hint=DONE)


@pytest.mark.parametrize("end", [0, 2, 4])
def test_a_done_cuts_the_row_in_two(rng, end):
    """One row with a done in the middle is two episodes, one after the other."""
    rewards, values, dones, last = episodes(rng, 2, 6)
    dones[:, end] = True
    parts = [x.tensor_split([end + 1], 1) for x in (rewards, values, dones)]
    want = [estimates(*(part[i] for part in parts), last) for i in range(2)]
    for i, got in enumerate(estimates(rewards, values, dones, last)):
        both = torch.cat([want[0][i], want[1][i]], 1)
        expect_close(got, both, what=f"{BOTH[i]} with step {end} of 6 done, against two calls", hint=DONE)


@pytest.mark.parametrize("junk", JUNK)
def test_what_follows_the_end_has_no_influence(rng, junk):
    """Responses of 2, 5 and 3 tokens, padded to 5: the last token is done. The padding may be anything."""
    rewards, values, dones, last = episodes(rng, 3, 5)
    lengths = (2, 5, 3)
    for row, length in enumerate(lengths):
        dones[row, length - 1] = True
        rewards[row, length:] = values[row, length:] = last[row] = junk
    what = f"of a response of %d tokens, with {junk} in the padding and as last value"
    with called_for(what % 2, hint=DONE):
        results = estimates(rewards, values, dones, last)
    for row, length in enumerate(lengths):
        alone = [x[row : row + 1, :length] for x in (rewards, values, dones)]
        for name, got, want in zip(BOTH, results, estimates(*alone, numbers(0)), strict=True):
            hint = DONE + ", not even as a NaN times 0: masked_fill or where"
            expect_close(got[row : row + 1, :length], want, what=f"{name} {what % length}", hint=hint)


def test_an_episode_that_runs_out_of_time_has_not_ended(rng):
    """Not done at the last step: the value of the state after it stands for the rewards that are still to come. Each
    row has its own."""
    rewards, values, dones, last = episodes(rng, 3, 4)
    dones[1, 3] = True
    advantages, _ = estimates(rewards, values, dones, last, gamma=0.5)
    want = rewards[:, 3] + 0.5 * last * numbers(1, 0, 1) - values[:, 3]
    expect_close(advantages[:, 3], want, what="the last advantages, of which the second is done", hint=DONE)


def test_rows_are_independent(rng):
    """4 rows of 3 steps with dones at different places, against each row alone."""
    rewards, values, _, last = episodes(rng, 4, 3)
    dones = masks([0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1])
    got = estimates(rewards, values, dones, last)
    rows = [estimates(*(x[i : i + 1] for x in (rewards, values, dones, last))) for i in range(4)]
    for i, name in enumerate(BOTH):
        want = torch.cat([row[i] for row in rows])
        expect_close(got[i], want, what=f"{name} of 4 rows, against each row alone", hint="time is the last dimension")


def test_estimates_are_linear(rng):
    """Twice one batch minus another, in rewards, values and last values together. Nothing is scaled or whitened."""
    first, second = episodes(rng, 2, 5), episodes(rng, 2, 5)
    dones = masks([0, 1, 0, 0, 0], [0, 0, 0, 1, 0])
    mixed = [2 * a - b for a, b in zip(first, second, strict=True) if a.dtype != torch.bool]
    (rewards, values, last), calls = mixed, [estimates(*x[:2], dones, x[3]) for x in (first, second)]
    for i, got in enumerate(estimates(rewards, values, dones, last)):
        want = 2 * calls[0][i] - calls[1][i]
        expect_close(got, want, what=f"{BOTH[i]} of twice one batch minus another", hint="gae does not whiten")


def test_the_score_goes_to_the_last_true_token():
    """A prompt before, padding after, holes between (what a tool said), and a row that is True to its end."""
    mask = masks([0, 1, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0])
    zeros = torch.zeros(4, 5).double()
    got = token_rewards(numbers(1, 2, 3, 4), zeros, zeros.clone(), mask, 0.1)
    want = table([0, 0, 1, 0, 0], [0, 0, 0, 2, 0], [0, 0, 0, 0, 3], [4, 0, 0, 0, 0])
    expect_close(got, want, what="the rewards of 4 rows with scores 1, 2, 3, 4 and no penalty", hint=LAST)


def test_a_beta_of_zero_leaves_the_score(rng):
    """Without a penalty, which is allowed, as many runs with verifiable rewards have it."""
    got = token_rewards(numbers(2), randn(rng, 1, 3), randn(rng, 1, 3), full(1, 3), 0.0)
    expect_equal(got.abs(), table([0, 0, 2]), what="the rewards at beta=0", hint="only beta < 0 is an error")


@pytest.mark.parametrize("junk", JUNK)
def test_masked_tokens_get_no_reward(rng, junk):
    """What stands under a False is anything, and its reward is 0. A row without a True token has no last one."""
    mask = masks([0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1])
    scores, log_probs, reference = randn(rng, 3), randn(rng, 3, 4), randn(rng, 3, 4)
    plain = token_rewards(torch.zeros(3).double(), log_probs, reference, full(3, 4), 0.3)
    want = torch.zeros(3, 4).double()
    want[mask] = plain[mask]
    want[0, 2], want[2, 3] = want[0, 2] + scores[0], want[2, 3] + scores[2]
    given = scores, log_probs.where(mask, junk), reference.where(mask, junk)
    got, what = token_rewards(*given, mask, 0.3), f"the rewards with {junk} under the mask, row 1 empty"
    expect_close(got, want, what=what, hint=FILL)


def test_whitening_gives_mean_zero_and_variance_one(rng):
    """Over the True entries of the whole batch together, not of each row. 0 under a False."""
    _, _, advantages, mask = tokens(rng, 3, 7)
    got = whiten(3 * advantages + table([[5], [-1], [2]]).view(3, 1), mask)
    what, n = "the True entries after whitening", int(mask.sum())
    expect_equal(list(got.shape), [3, 7], what="the shape of the result")
    expect_close(got[mask].mean(), numbers(0)[0], what=f"the mean of {what}", hint="the mean is not added back")
    variance = got[mask].square().sum() / n
    want = numbers(1 if variance > 1 - 0.5 / n else (n - 1) / n)[0]
    hint = "divide by the standard deviation over all True entries of the batch"
    expect_close(variance, want, what=f"the mean square of {what}", hint=hint, rtol=1e-6, atol=1e-6)
    expect_equal(got[~mask].abs(), torch.zeros(21 - n).double(), what="what stands under a False after whitening")


@pytest.mark.parametrize("junk", JUNK)
def test_whitening_ignores_what_is_masked(rng, junk):
    """Padding has no part in mean and variance. The True entries alone, in one row, give the same."""
    _, _, advantages, mask = tokens(rng, 3, 7)
    want = whiten(advantages[mask][None], full(1, int(mask.sum())))[0]
    got = whiten(advantages.where(mask, junk), mask)
    expect_close(got[mask], want, what=f"the whitened True entries, with {junk} under the mask", hint=FILL)
    expect_equal(got[~mask].abs(), torch.zeros_like(got[~mask]), what=f"the result where {junk} is masked", hint=FILL)


def test_whitening_without_spread(rng):
    """One entry has no variance, equal ones have 0, and none has no mean either: all give 0, not NaN."""
    x, hint = randn(rng, 2, 3), "sqrt(variance + 1e-8); no division by n - 1 = 0, or by n = 0"
    for name, given, mask in (
        ("one True entry", x, masks([0, 0, 0], [0, 1, 0])),
        ("equal entries", torch.full_like(x, 2.5), full(2, 3)),
        ("no True entry", x, ~full(2, 3)),
    ):
        got = whiten(given, mask)
        what = f"the result of whitening {name}"
        expect_close(got, torch.zeros(2, 3).double(), what=what, hint=hint, rtol=0.0, atol=1e-9)


def test_the_epsilon_stands_under_the_root():
    """Deviations of 1e-4 have a variance of 1e-8, so half of what is under the root is the epsilon."""
    got = whiten(table([3e-4, 1e-4] * 500), full(1, 1000))
    want, hint = table([1, -1] * 500) / 2**0.5, "(x - mean) / sqrt(variance + 1e-8)"
    expect_close(got, want, what="2e-4 +- 1e-4 whitened", hint=hint, rtol=0.0, atol=1e-3)


LOSSES = {
    "the policy loss": lambda *given: clipped(*given)[0],
    "the clip fraction": lambda *given: clipped(*given)[1],
    "the value loss": value_loss,
    "the value loss with clip=None": lambda *given: value_loss(*given, None),
    "the entropy": lambda x, _, y, mask: entropy(torch.stack([x, y, x * 0], -1), mask),
}
EVERY = pytest.mark.parametrize("name", LOSSES)


@EVERY
def test_every_true_token_weighs_the_same(rng, name):
    """Rows of 1, 4 and 2 True tokens of 5, against all 7 in one row. A mean of the rows' means would weigh a token by
    the length of its response, and a division by 15 by the padding."""
    *given, _ = tokens(rng, 3, 5)
    mask = masks([0, 0, 1, 0, 0], [1, 1, 0, 1, 1], [0, 0, 0, 1, 1])
    want = LOSSES[name](*(x[mask][None] for x in given), full(1, 7))
    got = LOSSES[name](*given, mask)
    expect_close(got, want, what=f"{name} of rows with 1, 4 and 2 True tokens, against one row of 7", hint=MEAN)


@EVERY
@pytest.mark.parametrize("junk", JUNK)
def test_a_loss_ignores_what_is_masked(rng, name, junk):
    """A product with the mask would turn NaN, and infinity, into NaN."""
    *given, mask = tokens(rng, 2, 6)
    want = LOSSES[name](*given, mask)
    got = LOSSES[name](*(x.where(mask, junk) for x in given), mask)
    expect_close(got, want, what=f"{name} with {junk} wherever the mask is False", hint=FILL)


@EVERY
def test_where_nothing_is_true_a_loss_is_zero(rng, name):
    """A batch whose responses were all cut away: 0, not 0 / 0."""
    *given, mask = tokens(rng, 2, 3)
    got = LOSSES[name](*given, mask & False)
    expect_equal(got, numbers(0)[0], what=f"{name} where nothing is True", hint="divide by mask.sum().clamp(min=1)")


def test_arguments_are_not_modified(rng):
    """Old log-probabilities and advantages are used again, in the next epoch. A second call gives what the first gave."""
    for name, given in arguments(rng).items():
        tensors, function = [x for x in given if isinstance(x, torch.Tensor)], getattr(katas.ppo, name)
        with expect_unchanged(*tensors, what=f"an argument of {name}"):
            first, second = function(*given), function(*given)
        first, second = (x if isinstance(x, tuple | list) else [x] for x in (first, second))
        for a, b in zip(first, second, strict=True):
            expect_equal(b, a, what=f"the second result of {name}", hint="keep nothing between two calls")


def test_other_memory_layouts_give_the_same(rng):
    """Transposed tensors are no obstacle."""
    for name, given in arguments(rng).items():
        function = getattr(katas.ppo, name)
        strided = [x.mT.contiguous().mT if isinstance(x, torch.Tensor) and x.dim() > 1 else x for x in given]
        got, want = function(*strided), function(*given)
        got, want = (x if isinstance(x, tuple | list) else [x] for x in (got, want))
        for a, b in zip(got, want, strict=True):
            expect_close(a, b, what=f"{name} of transposed inputs")


@pytest.mark.parametrize(("function", "name"), WRONG, ids=str)
def test_wrong_arguments_are_errors(rng, function, name):
    """Another shape would be broadcast, quietly. A comparison with NaN is False either way."""
    right = arguments(rng)[function]
    for wrong in WRONG[function, name]:
        is_shape = isinstance(wrong, tuple)
        what = f"{function} with {name} of shape {list(wrong)}" if is_shape else f"{function} with {name} = {wrong}"
        hint = "compare the shapes first" if is_shape else "`if not 0 <= x <= 1: raise` refuses NaN too"
        with expect_raises(ValueError, what=what, hint=hint):
            getattr(katas.ppo, function)(*replaced(right, function, name, wrong))
