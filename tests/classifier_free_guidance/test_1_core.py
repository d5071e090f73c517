"""Stage 1. The four formulas."""

import torch

from dojo.testing import draw, expect, expect_close, expect_distribution, expect_equal, numbers, randn
from katas.classifier_free_guidance import drop_condition, guide, guided_eps, rescale_guidance


def test_guidance_starts_at_the_unconditional_prediction():
    """A worked example: from 1 towards 3 at scale 3 is 1 + 3 x 2 = 7; from 2 towards 0 it is 2 + 3 x (-2) = -4.
    The paper's (1 + w) eps_cond - w eps_uncond gives the same at w = 2, and something else at w = 3."""
    expect_close(
        guide(numbers(1, 2), numbers(3, 0), 3.0),
        numbers(7, -4),
        what="guide([1, 2], [3, 0], scale=3)",
        hint="eps_uncond + scale * (eps_cond - eps_uncond): the base is eps_uncond, and the step leads to eps_cond",
    )


def test_scale_one_is_conditional_and_zero_unconditional(rng):
    """The two points that fix the convention. Libraries that switch guidance off below 1 get 0 wrong."""
    uncond, cond = randn(rng, 2, 3, 5)
    expect_close(guide(uncond, cond, 1.0), cond, what="guide(.., scale=1)", hint="scale 1 is eps_cond itself")
    expect_close(guide(uncond, cond, 0.0), uncond, what="guide(.., scale=0)", hint="scale 0 is eps_uncond itself")


def test_one_model_call_serves_both_predictions():
    """model(x, t, c) = c x + t at x = [1, 2], t = [0, 5], c = [3, 4], null 1: eps_uncond = [1, 7] and
    eps_cond = [3, 13], so at scale 2 the answer is [5, 19]."""
    rows = []

    def model(x, t, cond):
        rows.append([len(x), len(t), len(cond)])
        return cond * x + t

    got = guided_eps(model, numbers(1, 2), torch.tensor([0, 5]), numbers(3, 4), numbers(1)[0], 2.0)
    expect_equal(rows, [[4, 4, 4]], what="the rows of x, t and cond in each model call", hint="one call on both halves")
    expect_close(
        got,
        numbers(5, 19),
        what="guided_eps for c x + t",
        hint="take the halves apart in the order in which you put them together, and guide from null to cond",
    )


def test_dropping_with_certainty(rng):
    """p = 0 keeps every condition, p = 1 drops them all, on every call: p is the probability of *dropping*."""
    cond, null = randn(rng, 50, 3), randn(rng, 3)
    expect_close(drop_condition(cond, null, 0.0), cond, what="drop_condition(p=0)", hint="p = 0 drops nothing")
    expect_close(
        drop_condition(cond, null, 1.0),
        null.expand(50, 3),
        what="drop_condition(p=1)",
        hint="a dropped row is null_cond, as given: not zeros",
    )


def test_rows_are_dropped_independently_with_probability_p(rng):
    """Which of 3 rows are dropped, over 1000 calls: all 8 subsets with their probabilities. One draw for the batch, or
    always the same number of rows, gives other ones. Chi-square: 1e-6 false alarms."""
    p, labels, null = 0.3, torch.tensor([4, 7, 2]), torch.tensor(9)
    powers = torch.tensor([1, 2, 4])
    subsets = draw(lambda: ((drop_condition(labels, null, p) == 9) * powers).sum(-1, keepdim=True), 1000)
    dropped = torch.arange(8)[:, None].bitwise_and(powers) > 0  # [subset, row]
    probs = torch.where(dropped, p, 1 - p).double().prod(-1)
    expect_distribution(
        subsets,
        probs,
        what="the subsets of 3 rows dropped at p=0.3 (1: the first, 2: the second, 4: the third)",
        hint="one uniform number for each row, dropped where it is below p",
    )


def test_a_row_is_dropped_as_a_whole(rng):
    """Dropping single numbers of an embedding is dropout; the model would never see the null condition."""
    cond, null = randn(rng, 40, 2, 6), randn(rng, 2, 6)
    got = drop_condition(cond, null, 0.5)
    expect_equal(list(got.shape), [40, 2, 6], what="the shape of drop_condition's result")
    is_null, is_cond = (got == null).flatten(1), (got == cond).flatten(1)
    whole = is_null.all(1) | is_cond.all(1)
    expect(
        whole.all(),
        f"each row should be its condition or null_cond, but row {int((~whole).int().argmax())} is neither",
        hint="one decision for each row, broadcast over the rest: [batch] -> [batch, 1, 1]",
    )


def test_rescaling_takes_over_the_spread_of_the_conditional_prediction():
    """[0, 8] spreads 4 times as far as [1, 3]: at phi = 1 it becomes [0, 2], at phi = 0.25 [0, 0.25 x 2 + 0.75 x 8]."""
    guided, cond = numbers(0, 8)[None], numbers(1, 3)[None]
    hint = "guided * std(eps_cond) / std(guided); the rest of the weight, 1 - phi, is on guided as it was"
    for phi, want in ((1.0, 2.0), (0.25, 6.5), (0.0, 8.0)):
        got = rescale_guidance(guided, cond, phi)
        expect_close(got, numbers(0, want)[None], what=f"rescale_guidance([[0, 8]], [[1, 3]], phi={phi})", hint=hint)
