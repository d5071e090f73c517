"""Stage 3. Numerics, dtypes, gradients."""

import pytest
import torch

from dojo.testing import FLOATS, backward, expect, expect_close, expect_equal, expect_gradients, randn, roundings
from katas.ip_adapter import DecoupledCrossAttention, ImageProjection

from .helpers import NEW, attention, inputs

FROZEN = ["to_k.weight", "to_out.bias", "to_out.weight", "to_q.weight", "to_v.weight"]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Both modules, one after the other. Tolerance: 40 roundings of the largest number on the way."""
    exact, projecting = attention(rng), ImageProjection(6, 7, 3).double()
    x, context, embedding = (t.to(dtype) for t in (randn(rng, 2, 4, 5) / 4, randn(rng, 2, 6, 7) / 4, randn(rng, 2, 6)))
    layer, projection = DecoupledCrossAttention(5, 7, 2, 3, 0.7).to(dtype), ImageProjection(6, 7, 3).to(dtype)
    for low, high in ((layer, exact), (projection, projecting)):
        low.load_state_dict(high.state_dict())
        high.load_state_dict(low.state_dict())  # the same numbers in float64
    tokens, want = projection(embedding), projecting(embedding.double())
    expect_close(tokens, want.to(dtype), what=f"the image tokens in {dtype}", **roundings(40, dtype, want))
    size = max(exact.to_v(context.double()).abs().max(), exact.to_v_image(want).abs().max())
    close = roundings(40, dtype, size * exact.to_out.weight.abs().sum(1).max())
    want = exact(x.double(), context.double(), tokens.double()).to(dtype)
    expect_close(layer(x, context, tokens), want, what=f"the output in {dtype}", **close)


def test_huge_logits_stay_finite(rng):
    """exp(1e5) overflows in any dtype; a softmax that subtracts the maximum does not mind."""
    layer, (x, context, image_tokens) = attention(rng).float(), (t.float() for t in inputs(rng))
    got = layer(1e3 * x, 1e2 * context, 1e2 * image_tokens)
    expect(got.isfinite().all(), "the output for logits around 1e5 should be finite, but is not", hint="torch.softmax")


def test_gradients_are_those_of_the_function(rng):
    """Finite differences in float64, for x, the text, the image tokens and the new weights. The frozen layers' weights
    get none, but gradients pass through them: earlier adapters in a U-Net learn that way."""
    layer = attention(rng, 3, 2, 2, 2)
    given = tuple(t / 2 for t in inputs(rng, 2, 3, 4, 3, 3, 2))

    def forward(x, context, image_tokens, k, v):
        weights = dict(layer.named_parameters()) | {"to_k_image.weight": k, "to_v_image.weight": v}
        return torch.func.functional_call(layer, weights, (x, context, image_tokens))

    hint = "freeze parameters with requires_grad_(False); no detach() and no torch.no_grad() in forward"
    expect_gradients(forward, (*given, layer.to_k_image.weight, layer.to_v_image.weight), hint=hint)


def test_a_loaded_checkpoint_stays_frozen(rng):
    """The pretrained weights are loaded into the frozen layers: nothing about training changes, and no name clashes."""
    layer, pretrained = attention(rng), {name: p.detach() for name, p in attention(rng).named_parameters()}
    report = layer.load_state_dict({name: pretrained[name] for name in FROZEN}, strict=False)
    what, hint = "the keys missing from a text-only checkpoint", "the image's layers have names of their own"
    expect_equal(sorted(report.missing_keys), NEW, what=what, hint=hint)
    backward(layer(*inputs(rng)).sum())
    got = sorted(name for name, p in layer.named_parameters() if p.grad is not None)
    expect_equal(got, NEW, what="the parameters with a gradient after loading", hint="freeze in the constructor")
