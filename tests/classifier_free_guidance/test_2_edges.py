"""Stage 2. Shapes, labels, mixed timesteps, wrong arguments."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randint, randn
from dojo.testing.diffusion import column
from katas.classifier_free_guidance import drop_condition, guide, guided_eps, rescale_guidance

from .helpers import Denoiser


def spread(x):
    return x.flatten(1).std(1)


SHAPES = [(3, 4), (3, 3), (3, 2, 5, 4), (3, 3, 3, 3), (1, 7)]


@pytest.mark.parametrize("scale", [-2.0, 0.0, 0.5, 1.0, 7.5])
def test_guidance_is_a_straight_line_in_the_scale(rng, scale):
    """Also outside [0, 1], below 0 included (a negative prompt by the scale): nothing is clamped or switched off."""
    uncond, cond = randn(rng, 2, 2, 3, 4)
    with expect_unchanged(uncond, cond, what="guide's arguments"):
        got = guide(uncond, cond, scale) + guide(uncond, cond, 1 - scale)
    expect_close(got, uncond + cond, what=f"guide(scale={scale}) + guide(scale={1 - scale})", hint="any scale is fine")
    got = guide(torch.zeros_like(cond), cond, scale)
    expect_close(got, scale * cond, what=f"guide(0, cond, {scale})", hint="scale multiplies cond - uncond")


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


@pytest.mark.parametrize("scale", [0.0, 1.0, -1.0])
def test_guided_eps_at_special_scales(rng, scale):
    """0 is the null condition's prediction, 1 the condition's; in one call, with or without the rows of no weight."""
    x, t, cond, null, model = randn(rng, 3, 4), torch.arange(3), randn(rng, 3, 2), randn(rng, 2), Denoiser()
    got = guided_eps(model, x, t, cond, null, scale)
    expect_equal(len(model.rows), 1, what="the number of model calls", hint="one call on both halves")
    uncond, conditional = model(x, t, null.expand_as(cond)), model(x, t, cond)
    want = {0.0: uncond, 1.0: conditional, -1.0: 2 * uncond - conditional}[scale]
    expect_close(got, want, what=f"guided_eps at scale {scale}", hint="the convention of guide, at every scale")


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
        torch.where(column(dropped, cond), null, cond),
        what="each row of the result",
        hint="a row is its own condition or the null condition",
    )
    expect(0 < dropped.sum() < 60, f"of 60 rows at p=0.5 some should be dropped, not {int(dropped.sum())}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_sample_is_rescaled_by_its_own_spread(rng, shape):
    """Samples differ in contrast; a spread over the batch, or one per channel, changes pictures that were right."""
    gains = column(numbers(1, 30, 0.2)[: shape[0]], torch.empty(shape))
    guided, cond = 3 * randn(rng, *shape) + 5, gains * randn(rng, *shape)
    with expect_unchanged(guided, cond, what="rescale_guidance's arguments"):
        got = rescale_guidance(guided, cond, 1.0)
    hint = "std over all dimensions but the first, with keepdim=True"
    expect_close(spread(got), spread(cond), what="the standard deviation of each rescaled sample", hint=hint)
    ratio = got / guided
    first = column(ratio.flatten(1)[:, 0], ratio).expand_as(ratio)
    expect_close(ratio, first, what="the factor of each element of a sample", hint=hint + "; nothing is centred")
    got, want = rescale_guidance(guided, cond, 0.7), 0.7 * got + 0.3 * guided
    expect_close(got, want, what="rescale_guidance(phi=0.7)", hint="phi on the rescaled, 1 - phi on guided")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_p_and_phi_outside_zero_to_one_are_errors(value):
    """10 instead of 0.1 would train an unconditional model without a word."""
    x, hint = numbers(1, 2, 3)[None], "`not 0 <= p <= 1` also catches NaN"
    with expect_raises(ValueError, what=f"drop_condition(p={value})", hint=hint):
        drop_condition(x, x, value)
    with expect_raises(ValueError, what=f"rescale_guidance(phi={value})", hint=hint):
        rescale_guidance(x, x, value)
