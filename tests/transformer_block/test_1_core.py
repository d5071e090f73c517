"""Stage 1. SwiGLU."""

import math

import torch

from dojo.testing import expect, expect_close, expect_equal, numbers, randn
from dojo.testing.modules import expect_parameters
from katas.transformer_block import SwiGLU

from .helpers import DIM, HIDDEN, random_swiglu

FORMULA = "down(silu(gate(x)) * up(x))"


def test_the_projections_and_their_shapes():
    """The names are the interface: checkpoints are loaded by them. Llama has no bias in them."""
    shapes = {"gate.weight": [5, 3], "up.weight": [5, 3], "down.weight": [3, 5]}
    hint = "gate and up = nn.Linear(dim, hidden, bias=False), down = nn.Linear(hidden, dim, bias=False)"
    layer = SwiGLU(3, 5)
    expect_parameters(layer, shapes, what="SwiGLU(3, 5)", hint=hint)
    expect_equal(sorted(layer.state_dict()), sorted(shapes), what="the names in the state_dict of SwiGLU", hint=hint)
    expect_equal(len({*layer.parameters()}), 3, what="the number of different parameters", hint="nothing is shared")


def test_initial_weights_are_those_of_nn_linear():
    """Uniform between +-1 / sqrt(in), a mean square of 1 / (3 in). Other beginnings are a matter of the whole model."""
    layer = SwiGLU(32, 48)
    for name, parameter in layer.named_parameters():
        units = parameter.detach().double() * parameter.shape[1] ** 0.5
        largest, mean_square = units.abs().max().item(), units.square().mean().item()
        sentence = (
            f"new weights of {name} should be uniform between +-1 / sqrt(in), but in units of 1 / sqrt(in) their "
        )
        sentence += f"largest is {largest:.3g}, and 3 times their mean square is {3 * mean_square:.3g}"
        hint = "leave nn.Linear's weights as they are made"
        expect(0.9 < largest <= 1.0001 and 0.85 < 3 * mean_square < 1.15, sentence, hint=hint)


def test_a_worked_example():
    """x = 1, gates of ln 3 and -ln 3: sigmoid gives 3/4 and 1/4, so silu gives 0.75 ln 3 and -0.25 ln 3. up gives 4 and 8,
    the products are 3 ln 3 and -2 ln 3, and down adds 1 and 2 times those."""
    gate, up = numbers(math.log(3), -math.log(3))[:, None], numbers(4, 8)[:, None]
    layer = random_swiglu(torch.Generator(), 1, 2, gate=gate, up=up, down=numbers(1, 2)[None])
    what = "SwiGLU of x = 1 with gate (ln 3, -ln 3), up (4, 8) and down (1, 2)"
    expect_close(layer(numbers(1.0)), numbers(-math.log(3)), what=what, hint=FORMULA)


def test_a_closed_gate_lets_nothing_through(rng):
    """silu(0) = 0, so a gate of 0 closes its feature, as an up of 0 does. sigmoid(0) = 1/2 would leave it half open."""
    x = randn(rng, 3, DIM)
    for name in ("gate", "up"):
        got = random_swiglu(rng, **{name: 0.0})(x)
        expect_close(got, torch.zeros_like(x), what=f"SwiGLU with zeros in {name}.weight", hint=FORMULA)


def test_the_nonlinearity_is_silu(rng):
    """silu(z) / z is a sigmoid, whose log-odds are z itself. For GELU it is the normal distribution's function, for ReLU
    a step. One feature, whose up is 1, answers with silu(z)."""
    z = torch.cat([3 * randn(rng, 6), numbers(-1.2785, 0.5)])
    layer = random_swiglu(rng, 2, 1, gate=numbers(1, 0)[None], up=numbers(0, 1)[None], down=numbers(1, 0)[:, None])
    got = layer(torch.stack([z, torch.ones_like(z)], -1))
    expect_equal(list(got.shape), [8, 2], what="the shape of SwiGLU of x [8, 2]", hint=FORMULA)
    share = got[:, 0] / z
    hint = "silu(z) = z * sigmoid(z), of the gate alone"
    what = "log(s / (1 - s)) for s = silu(z) / z, which is z,"
    expect_close((share / (1 - share)).log(), z, what=what, hint=hint)


def test_up_scales_the_answer_and_gate_does_not(rng):
    """Only one of the two has the nonlinearity. A wide open gate is linear as well: silu(z) -> z, and 0 on the other
    side."""
    x, c = randn(rng, 3, DIM), -2.5
    gate, up, down = randn(rng, HIDDEN, DIM), randn(rng, HIDDEN, DIM), randn(rng, DIM, HIDDEN)
    want = c * random_swiglu(rng, gate=gate, up=up, down=down)(x)
    got = random_swiglu(rng, gate=gate, up=c * up, down=down)(x)
    expect_close(got, want, what=f"SwiGLU with {c} times its up", hint="no nonlinearity over up or the product")
    x[:, -1] = 1.0
    for size, want in ((60.0, 60 * x @ up.mT @ down.mT), (-60.0, 0 * x)):
        got = random_swiglu(rng, gate=size * torch.eye(DIM)[-1:], up=up, down=down)(x)
        what = f"SwiGLU with gates of {size:g}: {'60 down(up(x))' if size > 0 else 'nothing'}"
        expect_close(got, want, what=what, hint="silu(60) is 60, silu(-60) is 0, and up has no nonlinearity")


def test_each_hidden_feature_has_a_gate_of_its_own(rng):
    """Row i of gate.weight is the gate of row i of up.weight: a wide SwiGLU is the sum of narrow ones. Fused weights
    whose rows are taken apart in another way than they were put together pair others."""
    x, layer = randn(rng, 3, DIM), random_swiglu(rng)
    narrow = []
    for i in range(HIDDEN):
        rows = {name: getattr(layer, name).weight[i : i + 1] for name in ("gate", "up")}
        narrow.append(random_swiglu(rng, hidden=1, **rows, down=layer.down.weight[:, i : i + 1])(x))
    what = f"SwiGLU of {HIDDEN} hidden features, against the sum of {HIDDEN} that have one each"
    expect_close(layer(x), sum(narrow), what=what, hint="row i of gate goes with row i of up and column i of down")


def test_nothing_is_dropped(rng):
    """Language models of today train without dropout, and this block has none."""
    layer, x = random_swiglu(rng).train(), randn(rng, 40, DIM)
    first = layer(x)
    expect_close(layer(x), first, what="SwiGLU in training, called again", hint="no dropout")


def test_rows_do_not_see_each_other(rng):
    """Every token by itself: mixing tokens is attention's part."""
    layer, x = random_swiglu(rng), randn(rng, 5, DIM)
    got = layer(x)
    expect_equal(list(got.shape), [5, DIM], what=f"the shape of SwiGLU of x [5, {DIM}]", hint=FORMULA)
    for row in range(5):
        expect_close(got[row], layer(x[row]), what=f"row {row} of 5, against the row alone", hint=FORMULA)
