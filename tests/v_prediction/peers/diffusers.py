"""diffusers: get_velocity of DDPMScheduler, the conversions of DPMSolverMultistepScheduler (to data in its algorithm
"dpmsolver++", to noise in "dpmsolver"), compute_snr, and CogVideoX's rescale_zero_terminal_snr.

get_velocity rounds the schedule to the images' dtype first, so it is handed wide numbers. The solver has one step for a
batch, and the roots of its sigma are NaN for pure noise: it is handed the roots."""

from types import SimpleNamespace

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_ddim_cogvideox import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional as F

KINDS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


class Wide(Tensor):
    """A tensor whose float() keeps float64."""

    def float(self):
        return self.as_subclass(Tensor)


def widened(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check(first, second, t, kind):
    if kind not in KINDS or first.shape != second.shape or t.shape != first.shape[:1]:
        raise ValueError("kind or shapes")


def prediction_target(x0, noise, t, abar, kind):
    check(x0, noise, t, kind)
    if kind != "v":
        return noise if kind == "eps" else x0
    made = DDPMScheduler()
    made.alphas_cumprod = abar
    wide = torch.promote_types(x0.dtype, abar.dtype)
    return made.get_velocity(x0.to(wide), noise.to(wide), t).to(x0.dtype)


def converted(x_t, prediction, t, abar, kind, algorithm):
    check(x_t, prediction, t, kind)
    # final_sigmas_type: the solver for noise cannot end at 0
    made = DPMSolverMultistepScheduler(
        algorithm_type=algorithm, prediction_type=KINDS[kind], final_sigmas_type="sigma_min"
    )
    roots = (root[t].to(x_t.dtype).reshape(-1, *[1] * (x_t.ndim - 1)) for root in (abar.sqrt(), (1 - abar).sqrt()))
    made.sigmas, made._step_index = [tuple(roots)], 0
    made._sigma_to_alpha_sigma_t = lambda both: both
    return made.convert_model_output(prediction, sample=x_t)


def to_x0(x_t, prediction, t, abar, kind):
    return converted(x_t, prediction, t, abar, kind, "dpmsolver++")


def to_eps(x_t, prediction, t, abar, kind):
    return converted(x_t, prediction, t, abar, kind, "dpmsolver")


def loss_weight(t, abar, kind, gamma=None):
    if kind not in KINDS or not (gamma is None or gamma > 0):
        raise ValueError("kind or gamma")
    abar = widened(abar)
    snr = compute_snr(SimpleNamespace(alphas_cumprod=abar.view_as(abar).as_subclass(Wide)), t)
    if gamma is None:
        return torch.ones_like(snr)
    smaller = snr.clamp(max=gamma)
    if kind == "eps":
        return (smaller / snr).where(snr > 0, 1.0)
    return smaller if kind == "x0" else smaller / (snr + 1)


def weighted_loss(prediction, target, weight):
    if prediction.shape != target.shape or weight.shape != prediction.shape[:1]:
        raise ValueError("shapes")
    losses = F.mse_loss(widened(prediction), widened(target), reduction="none")
    return (losses.reshape(len(losses), -1).mean(1) * weight.to(losses.dtype)).mean()


def zero_terminal_snr(abar):
    if len(abar) < 2:
        raise ValueError("steps")
    return rescale_zero_terminal_snr(widened(abar)).to(abar.dtype)
