"""DDPM: denoising diffusion.

How does a diffusion model turn noise into an image? Write the forward process in one jump, the posterior that the
reverse process imitates, and the sampling loop.

With alpha_t = 1 - beta_t and abar_t = alpha_0 alpha_1 ... alpha_t (abar before step 0 is 1: clean data):
    q(x_t | x_0)          = N(sqrt(abar_t) x_0, 1 - abar_t)
    q(x_{t-1} | x_t, x_0) = N(c_0 x_0 + c_t x_t, beta-tilde_t)
    c_0 = sqrt(abar_{t-1}) beta_t / (1 - abar_t)          c_t = sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t)
    beta-tilde_t = beta_t (1 - abar_{t-1}) / (1 - abar_t)

Rules: steps count from 0 (t = 0 is one noising step) and every element of a batch has a step of its own. Images are
[batch, ...], t is int64 [batch], schedules are 1-d [steps] on the same device. A result has the dtype of the images,
whatever the schedule's; coefficients are computed in the schedule's dtype or better and only then cast (1 - 0.9999
is 0 in bfloat16). No argument is modified. A t that is not of shape [batch] raises ValueError everywhere; t within
[0, steps) is the caller's promise, because checking it would make a GPU wait.

Stage 1: q_sample, predict_x0, q_posterior, one step.  Stage 2: mixed steps in a batch, t = 0, clipping, the loop.
Stage 3: dtypes, gradients, generators.  Stage 4: q_sample moves at most 32 times the bytes of x, a step does no work
in proportion to batch x steps, and the loop takes at most 200 operators a step.

Source: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020), equations 4, 7 and 11, algorithm 2.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

EpsModel = Callable[[Float[Tensor, "batch *rest"], Int64[Tensor, "batch"]], Float[Tensor, "batch *rest"]]


# kata: begin
def per_element(values: Tensor, x: Tensor) -> Tensor:
    """One number for each element of the batch, shaped and typed to multiply `x`."""
    if values.shape != x.shape[:1]:
        raise ValueError(f"t must have shape [batch] = {list(x.shape[:1])}, but has {list(values.shape)}")
    return values.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))  # [batch] -> [batch, 1, ..., 1]


# kata: end


def q_sample(
    x0: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    noise: Float[Tensor, "batch *rest"],
    alphas_cumprod: Float[Tensor, "steps"],
) -> Float[Tensor, "batch *rest"]:
    """Diffuse clean data to step t in one jump: sqrt(abar_t) x0 + sqrt(1 - abar_t) noise, with the given noise.

    Differentiable in x0 and noise. Raises ValueError unless t has shape [batch].
    """
    # kata: begin
    # The floor is 3 times the bytes of x0: both images read, one written. addcmul makes it 5, a product and a sum 7.
    abar = alphas_cumprod[t]
    return torch.addcmul(per_element(abar.sqrt(), x0) * x0, per_element((1 - abar).sqrt(), x0), noise)
    # kata: end


def predict_x0(
    x_t: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    eps: Float[Tensor, "batch *rest"],
    alphas_cumprod: Float[Tensor, "steps"],
) -> Float[Tensor, "batch *rest"]:
    """The clean data that q_sample would have turned into x_t with the noise eps: its inverse, not clipped.

    Differentiable in x_t and eps. Raises ValueError unless t has shape [batch].
    """
    # kata: begin
    abar = alphas_cumprod[t]
    return torch.addcmul(x_t, -per_element((1 - abar).sqrt(), x_t), eps) / per_element(abar.sqrt(), x_t)
    # kata: end


def q_posterior(
    x0: Float[Tensor, "batch *rest"],
    x_t: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    betas: Float[Tensor, "steps"],
) -> tuple[Float[Tensor, "batch *rest"], Float[Tensor, "batch *#rest"]]:
    """Mean and variance (beta-tilde_t, not a standard deviation) of q(x_{t-1} | x_t, x_0).

    Both have the dtype of x_t; the variance broadcasts against x_t ([batch, 1, ..., 1] or its full shape). At t = 0
    the mean is x0 and the variance is 0. Differentiable in x0 and x_t. Raises ValueError unless t has shape [batch].
    """
    # kata: begin
    abar = (1 - betas).cumprod(0)
    abar_prev = torch.cat([abar.new_ones(1), abar[:-1]])  # one step earlier; nothing is noisy before step 0
    beta, abar, abar_prev = betas[t], abar[t], abar_prev[t]  # [steps] -> [batch]
    x0_weight = abar_prev.sqrt() * beta / (1 - abar)
    x_t_weight = (1 - beta).sqrt() * (1 - abar_prev) / (1 - abar)
    variance = beta * (1 - abar_prev) / (1 - abar)
    mean = torch.addcmul(per_element(x0_weight, x_t) * x0, per_element(x_t_weight, x_t), x_t)
    return mean, per_element(variance, x_t)
    # kata: end


def p_sample(
    eps_model: EpsModel,
    x_t: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    betas: Float[Tensor, "steps"],
    *,
    variance: str = "posterior",
    clip_x0: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *rest"]:
    """One reverse step: a draw from N(mean of q_posterior for the x0 that eps_model's noise implies, variance).

    `eps_model(x, t)` predicts the noise in x; it is called once, with the whole batch. `variance` is "posterior"
    (beta-tilde_t) or "beta" (beta_t). Elements at t = 0 get the mean itself, without noise, under either. `clip_x0`
    clips the predicted x0, and nothing else, to [-1, 1]. With a `generator`, nothing else is a source of randomness.
    Whether a step is differentiable is up to you.
    Raises ValueError if `variance` is anything else or t does not have shape [batch].
    """
    # kata: begin
    if variance not in ("posterior", "beta"):
        raise ValueError(f'variance must be "posterior" or "beta", got {variance!r}')
    x0 = predict_x0(x_t, t, eps_model(x_t, t), (1 - betas).cumprod(0))
    if clip_x0:
        x0 = x0.clamp(-1, 1)
    mean, step_variance = q_posterior(x0, x_t, t, betas)
    if variance == "beta":
        step_variance = per_element(betas[t], x_t)
    noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
    return torch.addcmul(mean, per_element(t > 0, x_t) * step_variance.sqrt(), noise)
    # kata: end


def p_sample_loop(
    eps_model: EpsModel,
    shape: tuple[int, ...],
    betas: Float[Tensor, "steps"],
    *,
    generator: torch.Generator | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> Float[Tensor, "*shape"]:
    """Samples of `shape` = (batch, ...): standard normal noise, then p_sample with its defaults from the last step to 0.

    The samples have the dtype and device of `betas`. No autograd graph is recorded, also not within a step: gradients
    are off whenever eps_model runs, and afterwards they are on or off as the caller had them.
    `progress` (tqdm fits) is called once with the iterable of timesteps, steps - 1 down to 0, and the loop runs over
    what it returns, one model call a timestep. With a `generator`, nothing else is a source of randomness.
    """
    # kata: begin
    steps = range(len(betas) - 1, -1, -1)
    x = torch.randn(shape, generator=generator, dtype=betas.dtype, device=betas.device)
    with torch.no_grad():
        for step in progress(steps) if progress else steps:
            t = torch.full(shape[:1], step, device=x.device)
            x = p_sample(eps_model, x, t, betas, generator=generator)
    return x
    # kata: end
