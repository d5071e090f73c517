"""What any right classifier-free guidance does. Which half of the batch is the unconditional one is nowhere asked."""

import pytest
import torch

from dojo.testing import (
    draw,
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randint,
    randn,
)
from katas.classifier_free_guidance import drop_condition, guide, guided_eps, rescale_guidance


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


class Denoiser:
    """eps = (weight + embedding of cond) x sin((t + 1) x): each row depends on its own x, t and condition, and not
    linearly. Remembers how many rows each call had."""

    def __init__(self):
        self.weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        self.rows = []

    def __call__(self, x, t, cond):
        self.rows.append([len(x), len(t), len(cond)])
        gain = self.weight + cond.double().flatten(1).cos().sum(1) if cond.dim() > 1 else self.weight + cond.double()
        trailing = [1] * (x.dim() - 1)
        return gain.to(x.dtype).reshape(-1, *trailing) * torch.sin((t.reshape(-1, *trailing) + 1) * x)


def spread(x):
    return x.flatten(1).std(1)


def rows_like(values, x):
    return values.reshape(-1, *[1] * (x.dim() - 1))


# Stage 1: the four formulas


@pytest.mark.stage(1)
def test_guidance_starts_at_the_unconditional_prediction():
    """A worked example: from 1 towards 3 at scale 3 is 1 + 3 x 2 = 7; from 2 towards 0 it is 2 + 3 x (-2) = -4.
    The paper's (1 + w) eps_cond - w eps_uncond gives the same at w = 2, and something else at w = 3."""
    expect_close(
        guide(numbers(1, 2), numbers(3, 0), 3.0),
        numbers(7, -4),
        what="guide([1, 2], [3, 0], scale=3)",
        hint="eps_uncond + scale * (eps_cond - eps_uncond): the base is eps_uncond, and the step leads to eps_cond",
    )


@pytest.mark.stage(1)
def test_scale_one_is_conditional_and_zero_unconditional(rng):
    """The two points that fix the convention. Libraries that switch guidance off below 1 get 0 wrong."""
    uncond, cond = randn(rng, 2, 3, 5)
    expect_close(guide(uncond, cond, 1.0), cond, what="guide(.., scale=1)", hint="scale 1 is eps_cond itself")
    expect_close(guide(uncond, cond, 0.0), uncond, what="guide(.., scale=0)", hint="scale 0 is eps_uncond itself")


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_rescaling_takes_over_the_spread_of_the_conditional_prediction():
    """[0, 8] spreads 4 times as far as [1, 3]: at phi = 1 it becomes [0, 2], at phi = 0.25 [0, 0.25 x 2 + 0.75 x 8]."""
    guided, cond = numbers(0, 8)[None], numbers(1, 3)[None]
    hint = "guided * std(eps_cond) / std(guided); the rest of the weight, 1 - phi, is on guided as it was"
    for phi, want in ((1.0, 2.0), (0.25, 6.5), (0.0, 8.0)):
        got = rescale_guidance(guided, cond, phi)
        expect_close(got, numbers(0, want)[None], what=f"rescale_guidance([[0, 8]], [[1, 3]], phi={phi})", hint=hint)


# Stage 2: shapes, labels, mixed timesteps, wrong arguments

SHAPES = [(3, 4), (3, 3), (3, 2, 5, 4), (3, 3, 3, 3), (1, 7)]


@pytest.mark.stage(2)
@pytest.mark.parametrize("scale", [-2.0, 0.0, 0.5, 1.0, 7.5])
def test_guidance_is_a_straight_line_in_the_scale(rng, scale):
    """Also outside [0, 1], below 0 included (a negative prompt by the scale): nothing is clamped or switched off."""
    uncond, cond = randn(rng, 2, 2, 3, 4)
    got = guide(uncond, cond, scale) + guide(uncond, cond, 1 - scale)
    expect_close(got, uncond + cond, what=f"guide(scale={scale}) + guide(scale={1 - scale})", hint="any scale is fine")
    got = guide(torch.zeros_like(cond), cond, scale)
    expect_close(got, scale * cond, what=f"guide(0, cond, {scale})", hint="scale multiplies cond - uncond")


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["labels", "vectors", "tokens", "tokens, null per row"])
def test_guided_eps_equals_two_calls(rng, shape, kind):
    """The batched call is only faster: every row keeps its own x, its own t and its own condition."""
    batch = shape[0]
    cond, null = {
        "labels": (randint(rng, 0, 10, batch), torch.tensor(10)),
        "vectors": (randn(rng, batch, 4), randn(rng, 4)),
        "tokens": (randn(rng, batch, 5, 4), randn(rng, 1, 5, 4)),
        "tokens, null per row": (randn(rng, batch, 5, 4), randn(rng, batch, 5, 4)),
    }[kind]
    x, t, model = randn(rng, *shape), torch.arange(batch) * 3, Denoiser()
    with expect_unchanged(x, t, cond, null, what="guided_eps's arguments"):
        got = guided_eps(model, x, t, cond, null, 3.0)
    expect_equal(model.rows, [[2 * batch] * 3], what="the rows of x, t and cond in each model call")
    uncond, conditional = model(x, t, null.expand_as(cond)), model(x, t, cond)
    expect_close(
        got,
        uncond + 3 * (conditional - uncond),
        what="guided_eps at scale 3",
        hint="the same order of rows for x, t and cond: cat goes with chunk, repeat_interleave with [0::2] and [1::2]",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("scale", [0.0, 1.0, -1.0])
def test_guided_eps_at_special_scales(rng, scale):
    """0 is the null condition's prediction, 1 the condition's; in one call, with or without the rows of no weight."""
    x, t, cond, null, model = randn(rng, 3, 4), torch.arange(3), randn(rng, 3, 2), randn(rng, 2), Denoiser()
    got = guided_eps(model, x, t, cond, null, scale)
    expect_equal(len(model.rows), 1, what="the number of model calls", hint="one call on both halves")
    uncond, conditional = model(x, t, null.expand_as(cond)), model(x, t, cond)
    want = {0.0: uncond, 1.0: conditional, -1.0: 2 * uncond - conditional}[scale]
    expect_close(got, want, what=f"guided_eps at scale {scale}", hint="the convention of guide, at every scale")


@pytest.mark.stage(2)
@pytest.mark.parametrize("kind", ["labels", "null of [1, ...]", "null per row"])
def test_any_condition_can_be_dropped(rng, kind):
    """Class labels have a null label, text embeddings the embedding of an empty prompt."""
    cond, null = {
        "labels": (randint(rng, 0, 10, 60), torch.tensor(10)),
        "null of [1, ...]": (randn(rng, 60, 5, 4), randn(rng, 1, 5, 4)),
        "null per row": (randn(rng, 60, 60), randn(rng, 60, 60)),
    }[kind]
    with expect_unchanged(cond, null, what="drop_condition's arguments"):
        got = drop_condition(cond, null, 0.5)
    expect_equal(got.dtype, cond.dtype, what="the dtype of drop_condition's result")
    null = null.expand_as(cond)
    dropped = (got == null).reshape(60, -1).all(1)
    expect_close(
        got,
        torch.where(rows_like(dropped, cond), null, cond),
        what="each row of the result",
        hint="a row is its own condition or the null condition",
    )
    expect(0 < dropped.sum() < 60, f"of 60 rows at p=0.5 some should be dropped, not {int(dropped.sum())}")


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_sample_is_rescaled_by_its_own_spread(rng, shape):
    """Samples differ in contrast; a spread over the batch, or one per channel, changes pictures that were right."""
    gains = rows_like(numbers(1, 30, 0.2)[: shape[0]], torch.empty(shape))
    guided, cond = 3 * randn(rng, *shape) + 5, gains * randn(rng, *shape)
    with expect_unchanged(guided, cond, what="rescale_guidance's arguments"):
        got = rescale_guidance(guided, cond, 1.0)
    hint = "std over all dimensions but the first, with keepdim=True"
    expect_close(spread(got), spread(cond), what="the standard deviation of each rescaled sample", hint=hint)
    ratio = got / guided
    first = rows_like(ratio.flatten(1)[:, 0], ratio).expand_as(ratio)
    expect_close(ratio, first, what="the factor of each element of a sample", hint=hint + "; nothing is centred")
    got, want = rescale_guidance(guided, cond, 0.7), 0.7 * got + 0.3 * guided
    expect_close(got, want, what="rescale_guidance(phi=0.7)", hint="phi on the rescaled, 1 - phi on guided")


@pytest.mark.stage(2)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_p_and_phi_outside_zero_to_one_are_errors(value):
    """10 instead of 0.1 would train an unconditional model without a word."""
    x, hint = numbers(1, 2, 3)[None], "`not 0 <= p <= 1` also catches NaN"
    with expect_raises(ValueError, what=f"drop_condition(p={value})", hint=hint):
        drop_condition(x, x, value)
    with expect_raises(ValueError, what=f"rescale_guidance(phi={value})", hint=hint):
        rescale_guidance(x, x, value)


# Stage 3: dtypes, gradients, generators


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Results keep the dtype. Tolerance: 30 roundings of the largest number, since 7.5 (c - u) amplifies them."""
    exact = randn(rng, 2, 3, 40).to(dtype).double()
    uncond, cond = exact.to(dtype)

    def check(function, what):
        want = function(*exact).to(dtype)
        atol = 30 * torch.finfo(dtype).eps * want.abs().max().item()
        expect_close(function(uncond, cond), want, what=f"{what} in {dtype}", rtol=0.0, atol=atol)

    check(lambda u, c: guide(u, c, 7.5), "guide")
    check(lambda u, c: rescale_guidance(u, c, 0.7), "rescale_guidance")
    null = torch.ones(40, dtype=dtype)
    check(lambda u, c: guided_eps(lambda x, t, c: x * c, u, torch.arange(3), c, null.to(c), 7.5), "guided_eps")
    expect_equal(drop_condition(cond, null, 0.5).dtype, dtype, what="drop_condition's dtype")


@pytest.mark.stage(3)
@pytest.mark.parametrize("name", ["x_t", "cond", "null_cond", "the model's weight"])
def test_gradients_reach_everything_behind_the_guided_prediction(rng, name):
    """Distillation trains through guidance, and inverse problems differentiate by x_t. torch.no_grad() belongs to the
    sampling loop. The gradient is compared with the one through two separate calls."""
    model, t = Denoiser(), torch.tensor([0, 2, 5])
    leaves = {"x_t": randn(rng, 3, 4), "cond": randn(rng, 3, 2), "null_cond": randn(rng, 2)}
    leaves = {key: leaf.requires_grad_() for key, leaf in leaves.items()} | {"the model's weight": model.weight}
    x, cond, null = (leaves[key] for key in ("x_t", "cond", "null_cond"))
    got = guided_eps(model, x, t, cond, null, 3.0).sum()
    hint = "no torch.no_grad() and no detach() in guided_eps"
    expect(got.requires_grad, "guided_eps should be differentiable, but its result has no graph", hint=hint)
    gradient = torch.autograd.grad(got, leaves[name], allow_unused=True)[0]
    want = (3 * model(x, t, cond) - 2 * model(x, t, null.expand_as(cond))).sum()
    expect_close(gradient, torch.autograd.grad(want, leaves[name])[0], what=f"the gradient of {name}", hint=hint)


@pytest.mark.stage(3)
def test_a_learned_null_condition_gets_the_gradients_of_the_dropped_rows(rng):
    """The null embedding is a parameter in many models: row by row, the slope goes to it or to the condition."""
    cond, null, slope = randn(rng, 20, 3).requires_grad_(), randn(rng, 3).requires_grad_(), randn(rng, 20, 3)
    got = drop_condition(cond, null, 0.5)
    expect(got.requires_grad, "drop_condition should be differentiable, but its result has no graph")
    (got * slope).sum().backward()
    dropped = (got == null).all(1)[:, None]
    hint = "do not detach null_cond or take its .data, and select rows with torch.where"
    expect_close(null.grad, (slope * dropped).sum(0), what="null_cond.grad", hint=hint)
    expect_close(cond.grad, slope * ~dropped, what="cond.grad", hint=hint)


@pytest.mark.stage(3)
def test_a_generator_is_the_only_source_of_randomness(rng):
    """The same seed drops the same rows, and data loading elsewhere keeps its own random numbers."""
    cond, null = randn(rng, 64, 2), randn(rng, 2)

    def dropped(seed):
        return drop_condition(cond, null, 0.5, generator=torch.Generator().manual_seed(seed))

    with expect_rng_untouched(what="drop_condition with a generator"):
        first, again, other = dropped(1), dropped(1), dropped(2)
    expect_equal(again, first, what="drop_condition from an equally seeded generator", hint="pass `generator` on")
    expect(not torch.equal(first, other), "two seeds should drop different rows of 64, but dropped the same")
    fresh = drop_condition(cond, null, 0.5), drop_condition(cond, null, 0.5)
    expect(
        not torch.equal(*fresh), "two calls should drop different rows of 64, but dropped the same", hint="do not seed"
    )


# Stage 4: cost


@pytest.mark.stage(4)
def test_guidance_costs_exactly_two_forwards(rng, cost):
    """2 x the FLOPs of one conditional pass, in one call: what guidance costs at sampling, and why it is distilled."""
    weight = randn(rng, 32, 32)
    calls = []

    def model(x, t, cond):
        calls.append(len(x))
        return (x + cond) @ weight

    x, cond, null = randn(rng, 8, 32), randn(rng, 8, 32), randn(rng, 32)
    with cost() as spent:
        guided_eps(model, x, torch.arange(8), cond, null, 7.5)
    once = 2 * 8 * 32 * 32
    expect_equal(spent.flops, 2 * once, what="FLOPs of guided_eps", hint="every row twice: with and without condition")
    expect_equal(calls, [16], what="the rows of each model call", hint="one call on both halves fills the GPU better")


@pytest.mark.stage(4)
@pytest.mark.parametrize("name", ["drop_condition", "rescale_guidance"])
def test_operators_do_not_grow_with_the_batch(rng, cost, name):
    """A python loop over rows launches kernels row by row: 64 rows should take as many operators as 4."""

    def operators(batch):
        x, y = randn(rng, 2, batch, 5)
        with cost() as spent:
            drop_condition(x, y[0], 0.5) if name == "drop_condition" else rescale_guidance(x, y, 0.5)
        return spent.operators

    few, many = operators(4), operators(64)
    expect(few > 0, f"torch operators should do {name}'s work, but none were seen")
    sentence = f"{name} should take about as many operators for 64 rows as for 4 ({few}), but took {many}"
    expect(many <= few + 5, sentence, hint="work on all rows at once")
