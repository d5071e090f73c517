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


# kata: begin
def _check_kind(kind: str) -> None:
    if kind not in ("eps", "x0", "v"):
        raise ValueError(f'kind must be "eps", "x0" or "v", got {kind!r}')


def _roots(x: Tensor, other: Tensor, t: Tensor, abar: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """The weights of data and noise in x_t, as [batch, 1, ..., 1] in the dtype of x. Raises ValueError as promised."""
    _check_kind(kind)
    if x.shape != other.shape:
        raise ValueError(f"the two images must have one shape, but have {[*x.shape]} and {[*other.shape]}")
    if t.shape != x.shape[:1]:
        raise ValueError(f"t must have shape [batch] = {[*x.shape[:1]]}, but has {[*t.shape]}")
    signal = abar[t].reshape(-1, *[1] * (x.dim() - 1))
    return signal.sqrt().to(x.dtype), (1 - signal).sqrt().to(x.dtype)


# kata: end


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
    # kata: begin
    signal, spread = _roots(x0, noise, t, abar, kind)
    if kind == "v":
        return signal * noise - spread * x0
    return noise if kind == "eps" else x0
    # kata: end


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
    # kata: begin
    signal, spread = _roots(x_t, prediction, t, abar, kind)
    if kind == "v":
        return signal * x_t - spread * prediction  # (x_t, v) is (x0, noise), rotated: this is the rotation back
    return (x_t - spread * prediction) / signal if kind == "eps" else prediction
    # kata: end


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
    # kata: begin
    signal, spread = _roots(x_t, prediction, t, abar, kind)
    if kind == "v":
        return spread * x_t + signal * prediction
    return (x_t - signal * prediction) / spread if kind == "x0" else prediction
    # kata: end


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
    # kata: begin
    _check_kind(kind)
    if gamma is not None and not gamma > 0:
        raise ValueError(f"gamma must be None or positive, got {gamma}")
    signal = abar[t].to(torch.promote_types(abar.dtype, torch.float32))
    if gamma is None:
        return torch.ones_like(signal)
    snr = signal / (1 - signal)
    clipped = snr.clamp(max=gamma)  # the weight of x0
    if kind == "v":
        return clipped / (snr + 1)  # (v - v')^2 = (snr + 1) (x0 - x0')^2
    return (clipped / snr).where(snr > 0, 1.0) if kind == "eps" else clipped  # (eps - eps')^2 = snr (x0 - x0')^2
    # kata: end


def weighted_loss(
    prediction: Float[Tensor, "batch *rest"], target: Float[Tensor, "batch *rest"], weight: Float[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """The mean over the batch of weight times the sample's own mean squared error. Differentiable in the prediction.

    Prediction and target have one dtype. The loss is float64 if they are, and float32 for all narrower ones, whatever
    the dtype of the weight; everything is computed in that dtype: widen before the first operation. The sum of the
    weights plays no part: the batch's mean divides by the number of samples.
    Raises ValueError if the shapes of prediction and target differ, or if weight is not of shape [batch].
    """
    # kata: begin
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {[*prediction.shape]} and target {[*target.shape]} must have one shape")
    if weight.shape != prediction.shape[:1]:
        raise ValueError(f"weight must have shape [batch] = {[*prediction.shape[:1]]}, but has {[*weight.shape]}")
    wide = torch.promote_types(prediction.dtype, torch.float32)
    errors = (prediction.to(wide) - target.to(wide)).square()
    return (weight.to(wide) * errors.reshape(len(errors), -1).mean(1)).mean()
    # kata: end


def zero_terminal_snr(abar: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
    """The schedule, changed so that its last step is pure noise: sqrt(abar) is shifted, then scaled.

    The last entry becomes 0 exactly; the first one stays, up to rounding. The caller promises that abar falls from
    first to last. The result has the dtype and device of `abar`, and is computed in float32 at least.
    Raises ValueError for fewer than two steps.
    """
    # kata: begin
    if len(abar) < 2:
        raise ValueError(f"a schedule needs two steps to keep the first and change the last, got {len(abar)}")
    root = abar.to(torch.promote_types(abar.dtype, torch.float32)).sqrt()
    shifted = root - root[-1]
    return (shifted * (root[0] / shifted[0])).square().to(abar.dtype)
    # kata: end
