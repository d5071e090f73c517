"""Three things to predict: the noise, the data, or v.

A diffusion model may be trained to predict the noise, the clean data, or the velocity v. Write the target of each, the
way back to data and noise, and the loss weights that make the three the same training. Then make a schedule end in pure
noise. Why does predicting the noise not survive that?

With abar_t = alphas_cumprod[t], the share of the signal's variance in x_t:

    x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise
    v_t = sqrt(abar_t) noise - sqrt(1 - abar_t) x0
    snr = abar_t / (1 - abar_t)

A min-SNR loss is the squared error of the data, weighted with min(snr, gamma). A model that predicts something else has
the same loss if the squared error of its own prediction gets another weight: that one is asked for.

Rules: `kind` is "eps", "x0" or "v". Steps count from 0, and every element of a batch has a t of its own, int64 [batch],
within [0, steps) by the caller's promise. Images are [batch, ...], with any number of dimensions after the batch, and
the two of a call have one dtype, which is that of the result. `abar` is 1-d, on the images' device, with values from 0
to 1. Coefficients are computed in the dtype of `abar` or better, and only then cast: 1 - 0.9999 is 0 in bfloat16. No
argument is modified; a result may be an argument itself instead of a copy.

Stage 1: targets, conversions, weights, the loss.  Stage 2: mixed batches, any shape, schedules that end in pure noise,
wrong arguments.  Stage 3: every floating dtype, the limits of the weights, gradients.  Stage 4: no loop over the batch,
and a target, a conversion and the loss each move at most 60 times the bytes of x0.

Sources: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022), section 4 and appendix
D; Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy" (2023); Lin et al., "Common Diffusion Noise
Schedules and Sample Steps are Flawed" (2024), algorithm 1.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def prediction_target(
    x0: Float[Tensor, "batch *rest"],
    noise: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    abar: Float[Tensor, "steps"],
    kind: str,
) -> Float[Tensor, "batch *rest"]:
    """What a model of this kind is trained to predict: the noise, x0, or v. Differentiable in x0 and noise.

    Raises ValueError for another kind, if the shapes of x0 and noise differ, or if t is not of shape [batch].
    """
    raise NotImplementedError("v_prediction.prediction_target: write me")


def to_x0(
    x_t: Float[Tensor, "batch *rest"],
    prediction: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    abar: Float[Tensor, "steps"],
    kind: str,
) -> Float[Tensor, "batch *rest"]:
    """The clean data that the prediction implies for x_t. Differentiable in x_t and prediction. Nothing is clipped.

    Defined for "x0" and "v" at every abar, and for "eps" wherever abar > 0: at 0 there is no data in x_t, and what
    comes out is the caller's affair (infinity or NaN, and no error, which would have to wait for the device).
    Raises ValueError as prediction_target does.
    """
    raise NotImplementedError("v_prediction.to_x0: write me")


def to_eps(
    x_t: Float[Tensor, "batch *rest"],
    prediction: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    abar: Float[Tensor, "steps"],
    kind: str,
) -> Float[Tensor, "batch *rest"]:
    """The noise that the prediction implies for x_t. Differentiable in x_t and prediction.

    Defined for "eps" and "v" at every abar, and for "x0" wherever abar < 1: at 1 there is no noise in x_t, and what
    comes out is the caller's affair, as above. Raises ValueError as prediction_target does.
    """
    raise NotImplementedError("v_prediction.to_eps: write me")


def loss_weight(
    t: Int64[Tensor, "batch"], abar: Float[Tensor, "steps"], kind: str, gamma: float | None = None
) -> Float[Tensor, "batch"]:
    """What the squared error of a prediction is multiplied with, so that it is min(snr, gamma) times that of x0.

    For any two values of a prediction, made at one x_t, and what they imply for x0:
        weight * (difference of the predictions)^2 = min(snr, gamma) * (difference of the two x0)^2
    At snr = 0 the weight of "eps" is its limit, as snr falls to 0. Weights are not normalised. gamma may be infinite.
    Without gamma, every weight is 1, whatever the kind. Here abar < 1.

    The weights are float64 for a float64 `abar` and float32 for all narrower ones, computed in that dtype at least and
    right to a few roundings of it.
    Raises ValueError for another kind, with and without gamma, and unless gamma is None or positive.
    """
    raise NotImplementedError("v_prediction.loss_weight: write me")


def weighted_loss(
    prediction: Float[Tensor, "batch *rest"], target: Float[Tensor, "batch *rest"], weight: Float[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """The mean over the batch of weight times the sample's own mean squared error. Differentiable in the prediction.

    Prediction and target have one dtype. The loss is float64 if they are, and float32 for all narrower ones, whatever
    the dtype of the weight; everything is computed in that dtype: widen before the first operation. The sum of the
    weights plays no part: the batch's mean divides by the number of samples.
    Raises ValueError if the shapes of prediction and target differ, or if weight is not of shape [batch].
    """
    raise NotImplementedError("v_prediction.weighted_loss: write me")


def zero_terminal_snr(abar: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
    """The schedule, changed so that its last step is pure noise: sqrt(abar) is shifted, then scaled.

    The last entry becomes 0 exactly; the first one stays, up to rounding. The caller promises that abar falls from
    first to last. The result has the dtype and device of `abar`, and is computed in float32 at least.
    Raises ValueError for fewer than two steps.
    """
    raise NotImplementedError("v_prediction.zero_terminal_snr: write me")
