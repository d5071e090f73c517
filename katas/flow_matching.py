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


def interpolate(
    x0: Float[Tensor, "batch *rest"], noise: Float[Tensor, "batch *rest"], t: Float[Tensor, "batch"]
) -> tuple[Float[Tensor, "batch *rest"], Float[Tensor, "batch *rest"]]:
    """The point x_t of the line from x0 (t = 0) to noise (t = 1), and the velocity there. Differentiable in both ends.

    x0 and noise have one dtype. Raises ValueError if their shapes differ, or if t is not of shape [batch].
    """
    raise NotImplementedError("flow_matching.interpolate: write me")


def velocity_to_x0(
    x_t: Float[Tensor, "batch *rest"], v: Float[Tensor, "batch *rest"], t: Float[Tensor, "batch"]
) -> Float[Tensor, "batch *rest"]:
    """The data end of the line through x_t with slope v. Differentiable in x_t and v; one dtype, errors as above."""
    raise NotImplementedError("flow_matching.velocity_to_x0: write me")


def velocity_to_noise(
    x_t: Float[Tensor, "batch *rest"], v: Float[Tensor, "batch *rest"], t: Float[Tensor, "batch"]
) -> Float[Tensor, "batch *rest"]:
    """The noise end of the line through x_t with slope v. Differentiable in x_t and v; one dtype, errors as above."""
    raise NotImplementedError("flow_matching.velocity_to_noise: write me")


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
    raise NotImplementedError("flow_matching.sample_times: write me")


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
    raise NotImplementedError("flow_matching.flow_loss: write me")


def shift_times(t: Float[Tensor, "*shape"], shift: float) -> Float[Tensor, "*shape"]:
    """Times moved towards the noise (shift > 1) or towards the data (shift < 1), in the dtype of t; 0 and 1 stay.

    Raises ValueError unless shift is positive and finite.
    """
    raise NotImplementedError("flow_matching.shift_times: write me")


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
    raise NotImplementedError("flow_matching.sample: write me")
