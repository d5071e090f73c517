"""Stage 3. Every floating dtype, gradients, generators."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_no_graph,
    expect_seeded,
    expect_slope,
    numbers,
    randn,
    roundings,
)
from dojo.testing.diffusion import recording
from katas.flow_matching import flow_loss, sample, sample_times, shift_times, velocity_to_noise, velocity_to_x0

from .helpers import T, line, noise_in, zeros

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
ROUND_LAST = "take 1 - t in the wider dtype, and round t and 1 - t to the images' dtype afterwards"
KEEP = "x in float32 between the steps, and x.to(noise.dtype) for the model and for the result"


def wide(dtype):
    """The dtype of times and of the loss."""
    return torch.promote_types(dtype, torch.float32)


def moves(a, b, t):
    """All results that have the dtype of the images, by their names."""
    x_t, velocity = line(a, b, t)
    ends = {"velocity_to_x0": velocity_to_x0(a, b, t), "velocity_to_noise": velocity_to_noise(a, b, t)}
    return {"x_t": x_t, "the velocity": velocity, **ends}


@EVERY
@pytest.mark.parametrize("time_dtype", FLOATS, ids=str)
def test_results_have_the_dtype_of_the_images(rng, dtype, time_dtype):
    """Times in float32 promote half-precision images without a word. Tolerance: 4 roundings of the largest number."""
    (a, b), t = randn(rng, 2, 6, 3).to(dtype), T.to(time_dtype)
    got, want = moves(a, b, t), moves(a.double(), b.double(), T)
    for name, exact in want.items():
        what = f"{name} of {dtype} images at {time_dtype} times"
        expect_equal(got[name].dtype, dtype, what=f"the dtype of {what}", hint="round the weights to the images' dtype")
        close = roundings(4, dtype, 4)
        expect_close(got[name].double(), exact, what=what, hint=ROUND_LAST, **close)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_little_data_is_left_near_t_1(dtype):
    """0.9999 is 1 in half precision, and 1 - 0.9999 must not be 0: 1e-4 of data of 1000 is 0.1. Relative tolerance
    2e-2, because bfloat16 keeps 8 bits."""
    t = torch.tensor([0.9999])
    zero, thousand = torch.zeros(1, dtype=dtype), torch.full((1,), 1000.0, dtype=dtype)
    for what, got in (
        ("x_t for x0=1000 and noise=0", line(thousand, zero, t)[0]),
        ("velocity_to_noise for x_t=0 and v=1000", velocity_to_noise(zero, thousand, t)),
    ):
        what = f"{what} at t=0.9999 in {dtype}"
        expect_close(got.double(), numbers(0.1), what=what, hint=ROUND_LAST, rtol=2e-2, atol=0.0)


@pytest.mark.parametrize("time_dtype", HALVES, ids=str)
def test_times_narrower_than_the_images(time_dtype):
    """A power of two is exact in every dtype, and 1 - 2^-12 is not: it rounds to 1 in half precision."""
    t = torch.tensor([2.0**-12], dtype=time_dtype)
    want = numbers(1 - 2.0**-12)
    hint = "t.to(the wider dtype) before 1 - t"
    what = f"x_t for float64 data of 1 and noise 0 at t=2^-12 in {time_dtype}"
    expect_close(line(numbers(1), numbers(0), t)[0], want, what=what, hint=hint)
    what = f"velocity_to_noise for float64 x_t=0 and v=1 at t=2^-12 in {time_dtype}"
    expect_close(velocity_to_noise(numbers(0), numbers(1), t), want, what=what, hint=hint)


def test_float64_keeps_its_digits():
    """float32 has 7 of them, and a third is not exact in it. Tolerance: 8 roundings of 2 in float64."""
    t, close = numbers(1 / 3), roundings(8, torch.float64, 2)
    want = {"x_t": 0.1 * 2 / 3 + 0.7 / 3, "the velocity": 0.6, "velocity_to_x0": 0.1 - 0.7 / 3}
    want["velocity_to_noise"] = 0.1 + 0.7 * 2 / 3
    hint = "no float() on the way: the wider dtype of images and times"
    for name, got in moves(numbers(0.1), numbers(0.7), t).items():
        expect_close(got, numbers(want[name]), what=f"{name} of 0.1 and 0.7 at t=1/3 in float64", hint=hint, **close)
    for steps, factor in ((3, (2 / 3) ** 3), (7, (6 / 7) ** 7)):
        got = sample(lambda x, t: x, numbers(0.7), steps)
        what = f"the end of {steps} steps from 0.7 with v = x in float64"
        expect_close(got, numbers(0.7 * factor), what=what, hint=hint, **close)


@EVERY
def test_shifted_times_keep_their_dtype(rng, dtype):
    """Tolerance: 4 roundings of a number up to 3."""
    t = torch.rand(6, generator=rng, dtype=torch.float64).to(dtype)
    got, want = shift_times(t, 3.0), shift_times(t.double(), 3.0)
    expect_equal(got.dtype, dtype, what=f"the dtype of shift_times of {dtype} times")
    expect_close(got.double(), want, what=f"shift_times of {dtype} times", **roundings(4, dtype, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("density", ["uniform", "logit_normal"])
def test_times_have_the_dtype_that_is_asked_for(density, dtype):
    got = sample_times(5, density=density, dtype=dtype, device="cpu")
    expect_equal(got.dtype, dtype, what=f"the dtype of sample_times with dtype={dtype}", hint="pass dtype on")
    got = sample_times(5, density=density, dtype=dtype, device="meta")
    expect_equal(got.device.type, "meta", what="the device of sample_times with device=meta", hint="pass device on")


@EVERY
def test_the_loss_of_every_dtype(dtype):
    """x_t as x0, t and the loss as float32 at least. The model is off by 300, whose square is beyond float16's 65504.
    At data of 0, x_t is t times the noise. Tolerance: bfloat16 rounds 300 to 8 bits; the noise is averaged away."""
    model, calls = recording(lambda x, t: torch.full_like(x, 300.0))
    loss = flow_loss(model, torch.zeros(64, 100, dtype=dtype))
    (x, t), *_ = calls
    expect_equal(x.dtype, dtype, what=f"the dtype of the x_t that the model is shown, for {dtype} data")
    hint = "draw t in float32 for half-precision data: bfloat16 has 256 steps between 0.5 and 1"
    expect_equal(t.dtype, wide(dtype), what=f"the dtype of the t that the model is given, for {dtype} data", hint=hint)
    if dtype in HALVES:
        coarse = int((t == t.to(dtype)).sum())
        sentence = f"t should be drawn in float32 for {dtype} data, but {coarse} of 64 fit into {dtype}"
        expect(coarse < 32, sentence, hint=hint)
    hint = "the prediction and the velocity in float32 before they are subtracted and squared"
    expect_equal(loss.dtype, wide(dtype), what=f"the dtype of the loss of {dtype} data", hint=hint)
    expect_close(loss.double(), numbers(90001)[0], what=f"the loss of {dtype} data", hint=hint, rtol=1e-2, atol=0.0)


@EVERY
def test_the_loss_keeps_its_digits(rng, dtype):
    """A mean of squares has more digits than a narrower dtype has room for, whatever it is of."""
    narrower = {torch.float64: torch.float32}.get(dtype, torch.bfloat16)
    losses = [flow_loss(zeros, randn(rng, 1, 64, dtype=dtype)) for _ in range(8)]
    fits = sum(bool(loss == loss.to(narrower)) for loss in losses)
    sentence = (
        f"the loss of {dtype} data should be computed in {wide(dtype)}, but {fits} of 8 losses fit into {narrower}"
    )
    hint = "a loss that is widened afterwards is rounded already: widen the prediction and the velocity"
    expect(fits < 6, sentence, hint=hint)


@EVERY
@pytest.mark.parametrize("method", ["euler", "heun"])
def test_the_sampler_in_every_dtype(dtype, method):
    """The model sees the dtype of the noise, and times in float32 at least; the samples have the dtype of the noise."""
    noise = torch.tensor([[1.0], [2.0]], dtype=dtype)
    model, calls = recording(lambda x, t: x)
    got = sample(model, noise, 3, method=method)
    what = f"of sample with method={method} from {dtype} noise"
    expect_equal({x.dtype for x, _ in calls}, {dtype}, what=f"the dtypes of the model's x, {what},", hint=KEEP)
    expect_equal({t.dtype for _, t in calls}, {wide(dtype)}, what=f"the dtypes of the model's t, {what},")
    expect_equal(got.dtype, dtype, what=f"the dtype {what}", hint=KEEP)
    want = {"euler": (1 - 1 / 3) ** 3, "heun": (1 - 1 / 3 + 1 / 18) ** 3}[method] * numbers(1, 2)[:, None]
    expect_close(got.double(), want, what=f"the result {what} with v = x", **roundings(4, dtype, 2))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("method", ["euler", "heun"])
def test_small_steps_are_not_lost_in_half_precision(dtype, method):
    """64 steps of 1/64 lead from 64 to 63. Near 64 float16 has steps of 1/16 and bfloat16 of 1/2: an x that is rounded
    after each step never leaves."""
    noise = torch.full((2, 1), 64.0, dtype=dtype)
    got = sample(lambda x, t: torch.ones_like(x), noise, 64, method=method)
    expect_close(got, noise - 1, what=f"64 small steps of {method} from {dtype} noise of 64, with v = 1", hint=KEEP)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_the_sampler_keeps_no_graph(rng, method):
    """With a graph, every step's activations stay alive: out of memory at sampling time."""
    weight = torch.nn.Parameter(numbers(0.5)[0])
    enabled = []

    def model(x, t):
        enabled.append((weight * x).requires_grad)
        return weight * x

    got = sample(model, randn(rng, 2, 3).requires_grad_(), 2, method=method)
    expect_no_graph(got, what=f"the result of sample with method={method}")
    expect(not any(enabled), "the model should run without a graph, but builds one", hint="with torch.no_grad(): ...")


def test_gradients_of_lines_and_ends(rng):
    """Consistency models and guidance differentiate through them: finite differences in float64."""
    a, b = randn(rng, 2, 6, 2)
    for name, function in (
        ("x_t", lambda a, b: line(a, b, T)[0]),
        ("the velocity", lambda a, b: line(a, b, T)[1]),
        ("velocity_to_x0", lambda x, v: velocity_to_x0(x, v, T)),
        ("velocity_to_noise", lambda x, v: velocity_to_noise(x, v, T)),
    ):
        expect_gradients(function, [a, b], what=name)


def test_the_loss_trains_the_model(rng):
    """A model that is off by its weights: the loss is their mean square, and they are what it depends on."""
    x0, weight = randn(rng, 4, 3), randn(rng, 4, 3).requires_grad_()

    def loss():
        return flow_loss(lambda x, t: (noise_in(x, t, x0) - x0).detach() + weight, x0)

    backward(loss(), what="the loss")
    expect_slope(loss, weight, rng, name="the model's output")


@pytest.mark.parametrize("density", ["uniform", "logit_normal"])
def test_the_generator_decides_times_and_noise(density):
    """Equal generators give equal times and equal noise; the global stream stays where it was."""

    def shown(generator):
        model, calls = recording(zeros)
        flow_loss(model, torch.zeros(4, 3).double(), density=density, generator=generator)
        (x, t), *_ = calls
        return {"the times": t, "the noise": noise_in(x, t, torch.zeros(4, 3))}

    expect_seeded(lambda generator: sample_times(6, density=density, generator=generator), what="sample_times")
    expect_seeded(shown, what=f"flow_loss with density={density}")


def test_the_sampler_draws_nothing(rng):
    """The same noise gives the same picture: an ODE has no other source of chance."""
    noise = randn(rng, 3, 2)
    before = torch.random.get_rng_state()
    first, again = (sample(lambda x, t: x, noise, 3, method="heun") for _ in range(2))
    same = torch.equal(before, torch.random.get_rng_state())
    expect(same, "sample should draw nothing, but drew from the global stream", hint="the noise is an argument")
    expect_equal(again, first, what="a second sample from the same noise")
