"""Stage 2. Several EOS ids, padding, reductions, empty rows, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.grpo_loss import completion_mask, group_advantages, grpo_loss, kl_estimate

from .helpers import REDUCTIONS, each_token, masks, prefixes, rollout, table
from .probe import WRONG_GROUPS, WRONG_OPTIONS, WRONG_SHAPES, given_for

EACH = pytest.mark.parametrize("options", REDUCTIONS.values(), ids=REDUCTIONS)
FIRST = "how many EOS, of any id, stand before a token? It counts if none does"


@pytest.mark.parametrize("ids", [[2, 9], (9, 2), [2, 9, 50], [9, 2, 2]], ids=str)
def test_the_first_of_any_eos_id_ends_a_row(ids):
    """Instruct models have several: the end of a turn and the end of the text. Whichever comes first ends the answer."""
    tokens = table((5, 2, 6, 9, 6), (5, 6, 9, 6, 2), (9, 5, 6, 6, 6), (5, 6, 6, 6, 2), (5, 6, 6, 6, 6))
    want = masks((1, 1, 0, 0, 0), (1, 1, 1, 0, 0), (1, 0, 0, 0, 0), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1))
    expect_equal(completion_mask(tokens, ids), want, what=f"the mask with eos_ids={ids}", hint=FIRST)


@pytest.mark.parametrize("number", [-100, 0, 2, 10**6])
def test_what_follows_the_first_eos_does_not_matter(number):
    """Padding of any number, the EOS itself among them, which many tokenizers pad with, and an EOS after other tokens."""
    tokens = table((7, 4, 2, 8, 8, 8), (2, 8, 8, 8, 8, 8), (7, 2, 8, 3, 2, 5))
    tokens = torch.where(tokens == 8, number, tokens)
    got = completion_mask(tokens, [2])
    want = masks((1, 1, 1, 0, 0, 0), (1, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0))
    expect_equal(got, want, what=f"the mask of rows with {number} after the EOS 2", hint=FIRST)


def test_rows_of_one_token():
    """The first token counts, whatever it is."""
    got = completion_mask(table((2,), (5,)), [2])
    expect_equal(got, masks((1,), (1,)), what="the mask of the rows [2] and [5] with EOS 2", hint=FIRST)


@pytest.mark.parametrize("group_size", [2, 3, 5])
def test_advantages_add_up_to_zero_in_each_group(rng, group_size):
    """Four groups, with the smallest size of 2 among them. Neither a constant nor a positive factor changes them, but
    for eps."""
    rewards = 3 * randn(rng, 4 * group_size) + 5
    for scale in (True, False):
        got = group_advantages(rewards, group_size, scale=scale)
        what = f"4 groups of {group_size} with scale={scale}"
        expect_equal(list(got.shape), [4 * group_size], what=f"the shape of the advantages of {what}")
        sums = got.reshape(4, group_size).sum(1)
        expect_close(sums, torch.zeros(4).double(), what=f"the sum of the advantages in each of {what}")
    got, want = (group_advantages(each, group_size, eps=1e-12) for each in (7 * rewards - 3, rewards))
    hint = "(reward - mean) / (std + eps)"
    expect_close(
        got, want, what=f"the advantages of 7 rewards - 3 with eps=1e-12, in groups of {group_size}", hint=hint
    )


def test_equal_rewards_have_no_advantage():
    """All right or all wrong: nothing to learn, and no NaN from 0 / 0. The other group is as if it were alone."""
    rewards = numbers(1, 1, 1, 0, 0, 3, -2, -2, -2)
    for scale in (True, False):
        got = group_advantages(rewards, 3, scale=scale)
        want = torch.zeros(9).double()
        want[3:6] = group_advantages(rewards[3:6], 3, scale=scale)
        what = f"the advantages of [1, 1, 1, 0, 0, 3, -2, -2, -2] in groups of 3 with scale={scale}"
        expect_close(got, want, what=what, hint="eps keeps the division by a std of 0 apart from NaN")


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)], ids=str)
def test_estimates_are_taken_element_by_element(rng, shape):
    """No mean over anything: the caller knows the mask."""
    log_probs, reference = (randn(rng, 24)[: math.prod(shape)].reshape(shape) for _ in range(2))
    for kind in ("k1", "k2", "k3"):
        got = kl_estimate(log_probs, reference, kind)
        pairs = zip(log_probs.flatten(), reference.flatten(), strict=True)
        want = torch.stack([kl_estimate(a, b, kind) for a, b in pairs]).reshape(shape)
        expect_close(got, want, what=f"{kind} of shape {list(shape)}, against each element alone", hint="no mean()")


@pytest.mark.parametrize(
    ("name", "want"), [("sequence", -2 / 3), ("token", -13 / 8), ("constant", -13 / 21)], ids=list(REDUCTIONS)
)
def test_worked_reductions(name, want):
    """On policy a token costs minus its row's advantage. The rows' means are -3, -2 and 3; their sums are -6, -10 and 3.
    The rows are padded to 6, and max_length is 7: neither the one nor the other counts tokens."""
    mask = prefixes(6, 2, 5, 1)
    old = torch.full((3, 6), -1.5).double()
    got = grpo_loss(old.clone(), old, numbers(3, 2, -3), mask, **REDUCTIONS[name])
    what = f'the loss of lengths 2, 5, 1 with advantages 3, 2, -3 on policy, reduction "{name}"'
    hint = "one masked tensor of costs, divided by three different things"
    expect_close(got, numbers(want)[0], what=what, hint=hint)


@EACH
def test_rows_of_unequal_length_off_policy(rng, options):
    """Tokens with ratios and divergences of their own, in rows of 1, 4 and 3: each token's loss alone, then reduced.
    The divergence is reduced as the rest is."""
    log_probs, old, advantages, reference = rollout(rng, 3, 4)
    mask, more = prefixes(4, 1, 4, 3), {"reference": reference, "beta": 0.3}
    costs = each_token(log_probs, old, advantages, **more)
    rows = [costs[0, :1], costs[1, :4], costs[2, :3]]
    want = {"sequence": sum(row.mean() for row in rows) / 3, "token": sum(row.sum() for row in rows) / 8}
    want["constant"] = sum(row.sum() for row in rows) / 21
    name = options.get("reduction", "sequence")
    got = grpo_loss(log_probs, old, advantages, mask, **more, **options)
    what = f'the loss of rows of 1, 4 and 3 tokens, reduction "{name}", against the tokens alone'
    expect_close(got, want[name], what=what, hint="costs of tokens first, k3 among them, and one reduction for all")


@EACH
def test_masked_columns_change_nothing(rng, options):
    """The padded length is an accident of the batch, and the mask may have holes: the output of a tool, in the middle of
    an answer, is not the policy's."""
    *given, reference = rollout(rng, 3, 8)
    for mask, places in ((prefixes(8, 2, 3, 1), slice(3)), (prefixes(3, 2, 3, 1).repeat_interleave(3, 1)[:, :8], None)):
        mask = mask.clone()
        if places is None:
            mask[:, 1::3] = mask[:, 2::3] = False
            places = slice(None, None, 3)
        cut = [given[0][:, places], given[1][:, places], given[2], mask[:, places]]
        want = grpo_loss(*cut, reference=reference[:, places], beta=0.3, **options)
        got = grpo_loss(*given, mask, reference=reference, beta=0.3, **options)
        what = f"the loss with masked columns, reduction {options}, against that without them"
        expect_close(got, want, what=what, hint="the mask says what counts, not the number of columns")


@EACH
def test_a_row_without_tokens_costs_nothing(rng, options):
    """An answer whose every token is masked, for example one that was cut off and is not to be trained. It is a row all
    the same: "sequence" divides by all rows."""
    log_probs, old, advantages, _ = rollout(rng, 3, 4)
    got = grpo_loss(log_probs, old, advantages, prefixes(4, 2, 0, 3), **options)
    want = grpo_loss(log_probs[::2], old[::2], advantages[::2], prefixes(4, 2, 3), **options)
    want = want if options.get("reduction") == "token" else want * 2 / 3
    what = f"the loss of rows of 2, 0 and 3 tokens, reduction {options}"
    expect_close(got, want, what=what, hint="a mean over no tokens is 0 here: clamp(min=1) the number, not NaN")


def test_a_single_token_counts(rng):
    """One token in a batch of two rows: "token" divides by 1, "sequence" by the rows."""
    log_probs, _, advantages, _ = rollout(rng, 2, 3)
    for name, divisor in (("token", 1), ("sequence", 2), ("constant", 14)):
        got = grpo_loss(log_probs, log_probs.clone(), advantages, prefixes(3, 0, 1), **REDUCTIONS[name])
        what = f'the loss on policy where one token of two rows counts, reduction "{name}"'
        expect_close(got, -advantages[1] / divisor, what=what, hint="clamp the number of tokens at 1, not above")


@EACH
def test_nothing_counts(rng, options):
    """A batch without a single token: 0 and not NaN."""
    for rows, length in ((2, 3), (1, 1)):
        log_probs, old, advantages, reference = rollout(rng, rows, length)
        nothing = torch.zeros(rows, length).bool()
        for more in ({}, {"reference": reference, "beta": 0.5}):
            got = grpo_loss(log_probs, old, advantages, nothing, **more, **options)
            what = f"the loss of a batch of {rows} rows in which nothing counts, reduction {options}"
            expect_equal(got + 0.0, numbers(0)[0], what=what, hint="clamp the number of tokens at 1")


def test_which_reductions_are_means_of_micro_batches(rng):
    """Two halves of a batch: "sequence" and "constant" are the mean of the halves' losses, "token" is weighed by their
    numbers of tokens. Who accumulates gradients has to know."""
    log_probs, old, advantages, _ = rollout(rng, 4, 5)
    mask = prefixes(5, 5, 4, 1, 2)
    for name, shares in (("sequence", (1 / 2, 1 / 2)), ("token", (3 / 4, 1 / 4)), ("constant", (1 / 2, 1 / 2))):
        halves = [
            grpo_loss(log_probs[half], old[half], advantages[half], mask[half], **REDUCTIONS[name])
            for half in (slice(2), slice(2, 4))
        ]
        want = sum(share * half for share, half in zip(shares, halves, strict=True))
        got = grpo_loss(log_probs, old, advantages, mask, **REDUCTIONS[name])
        what = f'the loss of 4 rows, reduction "{name}", against {shares} of its halves with 9 and 3 tokens'
        expect_close(got, want, what=what, hint="divide by all rows, all tokens, or batch * max_length")


def test_max_length_is_for_constant_only(rng):
    """One set of options for all reductions."""
    *given, _ = rollout(rng, 2, 4)
    for name in ("sequence", "token"):
        want = grpo_loss(*given, prefixes(4, 3, 2), reduction=name)
        got = grpo_loss(*given, prefixes(4, 3, 2), reduction=name, max_length=50)
        expect_close(got, want, what=f'the loss with max_length=50, reduction "{name}", against that without')


def test_other_memory_layouts_give_the_same(rng):
    """Views and transposed tensors, called twice."""
    log_probs, old, advantages, reference = rollout(rng, 3, 4)
    mask, tokens = prefixes(4, 2, 4, 3), table((5, 2, 6, 2), (2, 6, 6, 6), (6, 6, 6, 6))
    want = grpo_loss(log_probs, old, advantages, mask, reference=reference, beta=0.3)
    turned = [each.T.contiguous().T for each in (log_probs, old, mask, reference, tokens)]
    wide = torch.stack([advantages, advantages], 1)[:, 1]
    for _ in range(2):
        got = grpo_loss(turned[0], turned[1], wide, turned[2], reference=turned[3], beta=0.3)
        expect_close(got, want, what="the loss of transposed inputs")
        got = completion_mask(turned[4], [2])
        expect_equal(got, completion_mask(tokens, [2]), what="the mask of transposed tokens")
        with called_for("the advantages of every second number", hint="reshape, not view"):
            got = group_advantages(torch.stack([advantages, advantages], 1)[:, 1], 3)
        expect_close(got, group_advantages(advantages, 3), what="the advantages of every second number")


def test_arguments_are_not_modified(rng):
    """Old log-probabilities serve several steps, and rewards are logged."""
    log_probs, old, advantages, reference = rollout(rng, 2, 4)
    mask, tokens, ids = prefixes(4, 3, 2), table((5, 2, 6, 2), (6, 6, 6, 6)), [2, 9]
    with expect_unchanged(tokens, what="tokens"):
        completion_mask(tokens, ids)
    expect_equal(ids, [2, 9], what="eos_ids after the call")
    with expect_unchanged(advantages, what="rewards"):
        group_advantages(advantages, 2)
        group_advantages(advantages, 2, scale=False)
    for kind in ("k1", "k2", "k3"):
        with expect_unchanged(log_probs, reference, what=f"an argument of kl_estimate, {kind}"):
            kl_estimate(log_probs, reference, kind)
    for options in REDUCTIONS.values():
        with expect_unchanged(log_probs, old, advantages, mask, reference, what="an argument of grpo_loss"):
            grpo_loss(log_probs, old, advantages, mask, reference=reference, beta=0.5, **options)


def test_limits_of_the_options_are_no_errors():
    """A beta of 0, narrow and wide clips, a max_length of 1."""
    for options in (
        {"beta": 0.0, "reference": None},
        {"clip_low": 0.99, "clip_high": 5.0},
        {"clip_low": 0.001, "clip_high": 0.001},
        {"reduction": "constant", "max_length": 1},
    ):
        with called_for(f"grpo_loss with {options}"):
            got = grpo_loss(**(given_for() | options))
        expect(bool(got.isfinite()), f"grpo_loss with {options} should be finite, but is {got}")


@pytest.mark.parametrize(("count", "group_size"), WRONG_GROUPS)
def test_groups_that_are_no_groups_are_errors(count, group_size):
    """The std of one reward is NaN, and a group that is cut in two is quietly compared with a stranger."""
    hint = "if group_size < 2 or len(rewards) % group_size: raise"
    with expect_raises(ValueError, what=f"group_advantages of {count} rewards, group_size={group_size}", hint=hint):
        group_advantages(torch.arange(1.0, count + 1), group_size)


@pytest.mark.parametrize("kind", ["k4", "", "K3"])
def test_other_kinds_are_errors(kind):
    """A typing error should not fall through to the last branch."""
    with expect_raises(ValueError, what=f"kl_estimate of kind {kind!r}"):
        kl_estimate(torch.zeros(2), torch.ones(2), kind)


@pytest.mark.parametrize("shape", [(3, 1), (1,), (1, 3), ()], ids=str)
def test_estimates_of_other_shapes_are_errors(shape):
    """[3] minus [3, 1] is [3, 3]."""
    for kind in ("k1", "k2", "k3"):
        with expect_raises(ValueError, what=f"{kind} of log_probs [3] and reference {list(shape)}"):
            kl_estimate(torch.zeros(3), torch.ones(shape), kind)


@pytest.mark.parametrize(("name", "shape"), WRONG_SHAPES, ids=str)
def test_losses_of_other_shapes_are_errors(name, shape):
    """All of them would broadcast, and give a number."""
    hint = "compare the shapes first"
    with expect_raises(ValueError, what=f"grpo_loss of log_probs [3, 3] and {name} {list(shape)}", hint=hint):
        grpo_loss(**given_for(**{name: shape}), beta=0.5)


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=str)
def test_wrong_options_are_errors(options):
    """A comparison with NaN is False either way: write what must hold, and `not` before it."""
    with expect_raises(ValueError, what=f"grpo_loss with {options}", hint="see the docstring's last sentence"):
        grpo_loss(**(given_for() | options))
