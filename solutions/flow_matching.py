"""Flow matching: rectified flow, as in SD3 and FLUX.

SD3 and FLUX are not DDPMs. Write rectified flow: the interpolation, the training loss, an Euler and a Heun sampler, and
the time shift. What exactly does the network predict, and why are few steps enough?

Data and noise are the two ends of a straight line, and the network predicts its slope, the velocity:

    x_t = (1 - t) x0 + t noise          velocity = d x_t / dt = noise - x0

THE DIRECTION: t = 0 IS DATA AND t = 1 IS NOISE, as in SD3, FLUX and diffusers. The papers on flow matching and rectified
flow count the other way, and their velocity has the other sign. The sampler follows dx/dt = v(x, t) from t = 1 down to 0:

    Euler   x + dt v(x, t)                          dt = t_next - t, which is negative
    Heun    x + dt (v(x, t) + v(x_euler, t_next)) / 2    x_euler being what the Euler step gives
    shift   t -> shift t / (1 + (shift - 1) t)

Rules: a time is a float in [0, 1], and goes to the model as it is (not times 1000). Every element of a batch has a t of
its own, [batch]; images are [batch, ...]. No argument is modified.

Numbers: results have the dtype of the images, whatever t's, unless said otherwise. The weights t and 1 - t are computed
in the wider of both dtypes and rounded to the images' afterwards: in bfloat16, 0.999 is 1, and 1 - 0.999 must not be 0.
The times of training and sampling are float32, or float64 where the images are float64.

Stage 1: the line and its slope, the loss, the Euler sampler.  Stage 2: mixed batches, the shift, densities, Heun, wrong
arguments.  Stage 3: every floating dtype, gradients, generators.  Stage 4: model calls, operators and bytes.

Sources: Liu, Gong and Liu, "Flow Straight and Fast" (2023); Lipman et al., "Flow Matching for Generative Modeling"
(2023); Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (2024), sections 2, 3.1
and 5.3.2, for the densities and the shift.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

VModel = Callable[[Float[Tensor, "batch *rest"], Float[Tensor, "batch"]], Float[Tensor, "batch *rest"]]


# kata: begin
def time_weights(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """t and 1 - t as [batch, 1, ..., 1] in the dtype of x, to which both are rounded at the end."""
    if t.shape != x.shape[:1]:
        raise ValueError(f"t must have shape {list(x.shape[:1])}, one time for each element, but has {list(t.shape)}")
    t = t.to(torch.promote_types(t.dtype, x.dtype)).reshape(-1, *[1] * (x.dim() - 1))
    return t.to(x.dtype), (1 - t).to(x.dtype)


def require_same_shape(x: Tensor, other: Tensor) -> None:
    if x.shape != other.shape:
        raise ValueError(f"the shapes {list(x.shape)} and {list(other.shape)} must be equal")


# kata: end


def interpolate(
    x0: Float[Tensor, "batch *rest"], noise: Float[Tensor, "batch *rest"], t: Float[Tensor, "batch"]
) -> tuple[Float[Tensor, "batch *rest"], Float[Tensor, "batch *rest"]]:
    """The point x_t of the line from x0 (t = 0) to noise (t = 1), and the velocity there. Differentiable in both ends.

    x0 and noise have one dtype. Raises ValueError if their shapes differ, or if t is not of shape [batch].
    """
    # kata: begin
    require_same_shape(x0, noise)
    weight, rest = time_weights(t, x0)
    return rest * x0 + weight * noise, noise - x0
    # kata: end


def velocity_to_x0(
    x_t: Float[Tensor, "batch *rest"], v: Float[Tensor, "batch *rest"], t: Float[Tensor, "batch"]
) -> Float[Tensor, "batch *rest"]:
    """The data end of the line through x_t with slope v. Differentiable in x_t and v; one dtype, errors as above."""
    # kata: begin
    require_same_shape(x_t, v)
    return x_t - time_weights(t, x_t)[0] * v
    # kata: end


def velocity_to_noise(
    x_t: Float[Tensor, "batch *rest"], v: Float[Tensor, "batch *rest"], t: Float[Tensor, "batch"]
) -> Float[Tensor, "batch *rest"]:
    """The noise end of the line through x_t with slope v. Differentiable in x_t and v; one dtype, errors as above."""
    # kata: begin
    require_same_shape(x_t, v)
    return x_t + time_weights(t, x_t)[1] * v
    # kata: end


def sample_times(
    batch: int,
    *,
    density: str = "uniform",
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "batch"]:
    """Independent random times to train at: "uniform" on [0, 1], or "logit_normal", the sigmoid of a standard normal.

    No time depends on another: neither one in each part of [0, 1], nor pairs of t and 1 - t. dtype is float32 or float64. Raises ValueError for any other density.
    """
    # kata: begin
    if density == "uniform":
        return torch.rand(batch, generator=generator, dtype=dtype, device=device)
    if density == "logit_normal":
        return torch.randn(batch, generator=generator, dtype=dtype, device=device).sigmoid()
    raise ValueError(f"density must be 'uniform' or 'logit_normal', got {density!r}")
    # kata: end


def flow_loss(
    v_model: VModel,
    x0: Float[Tensor, "batch *rest"],
    *,
    density: str = "uniform",
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """The training loss on one batch: the mean over all elements of the squared error of the predicted velocity.

    Each element of the batch gets a time of this density, and fresh standard normal noise for each number.
    `v_model(x_t, t)` is called once, with x_t in the dtype of x0, and answers in that dtype. The errors are squared and
    averaged in float32 (float64 for float64 data), and that is the dtype of the loss; whether they are subtracted there
    or in the dtype of x0 is up to you. The loss is differentiable in the model's parameters. With a `generator`, nothing else is a source of randomness. Errors as in sample_times.
    """
    # kata: begin
    wide = torch.promote_types(x0.dtype, torch.float32)
    t = sample_times(len(x0), density=density, generator=generator, dtype=wide, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x_t, velocity = interpolate(x0, noise, t)
    return F.mse_loss(v_model(x_t, t).to(wide), velocity.to(wide))
    # kata: end


def shift_times(t: Float[Tensor, "*shape"], shift: float) -> Float[Tensor, "*shape"]:
    """Times moved towards the noise (shift > 1) or towards the data (shift < 1), in the dtype of t; 0 and 1 stay.

    Raises ValueError unless shift is positive and finite.
    """
    # kata: begin
    if not 0 < shift < math.inf:
        raise ValueError(f"shift must be positive and finite, got {shift}")
    return shift * t / (1 + (shift - 1) * t)
    # kata: end


def sample(
    v_model: VModel,
    noise: Float[Tensor, "batch *rest"],
    steps: int,
    *,
    method: str = "euler",
    shift: float = 1.0,
) -> Float[Tensor, "batch *rest"]:
    """Samples that begin as `noise` at t = 1 and follow the velocity to t = 0, in `steps` steps.

    The times are those of linspace(1, 0, steps + 1), shifted: the last step ends at 0. "euler" calls the model `steps`
    times. "heun" calls it 2 x steps times: its last step, too, asks once more, at t = 0.
    `v_model(x, t)` gets the whole batch in the dtype of `noise`, and t as [batch]; it answers in the dtype of `noise`,
    which is that of the samples as well. Between the steps x is kept in float32 at least: in bfloat16 a small step adds
    nothing. The samples carry no autograd graph, even when the model has parameters.

    Besides the model, a model call costs at most 40 operators, and the operators do not grow with the batch.
    Raises ValueError if steps < 1, for another method, and unless shift is positive and finite.
    """
    # kata: begin
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if method not in ("euler", "heun"):
        raise ValueError(f"method must be 'euler' or 'heun', got {method!r}")
    wide = torch.promote_types(noise.dtype, torch.float32)
    times = shift_times(torch.linspace(1, 0, steps + 1, dtype=wide, device=noise.device), shift)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return v_model(x.to(noise.dtype), t.repeat(len(noise))).to(wide)

    x = noise.to(wide)
    with torch.no_grad():
        for t, t_next in pairwise(times):
            dt = t_next - t  # negative: time runs from the noise to the data
            v = velocity(x, t)
            if method == "heun":
                v = (v + velocity(x + dt * v, t_next)) / 2
            x = x + dt * v  # a new tensor: x may be the caller's noise
    return x.to(noise.dtype)
    # kata: end
