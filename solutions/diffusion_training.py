"""Training a diffusion model: timestep embedding, loss, EMA.

How is a DDPM trained? Write the three pieces around the network: how it is told the timestep, what it is trained to
predict, and the moving average of its weights from which one samples in the end.

    embedding   [cos(t w_0), ..., cos(t w_{half-1}), sin(t w_0), ..., sin(t w_{half-1})]
                w_i = max_period ** (-i / half),    half = dim // 2
    loss        mean of (eps_model(x_t, t) - eps)^2, with t uniform over all steps, eps ~ N(0, I) and
                x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,    abar = alphas_cumprod
    EMA         average <- decay * average + (1 - decay) * parameter; buffers are copied

Rules: steps count from 0, and every element of a batch has a t of its own, int64 [batch]. Images are [batch, ...]; the
schedule is 1-d and on their device. No argument is modified, but for the averages in `ema`.

Stage 1: the three pieces.  Stage 2: odd sizes, any shape, tied weights, buffers.  Stage 3: dtypes, gradients,
generators.  Stage 4: one model call; beside it the loss moves at most 40 times the bytes of x0, and an update at most
20 times the bytes of the parameters.

Sources: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020), algorithm 1 and equation 14; Vaswani
et al., "Attention Is All You Need" (2017), section 3.5, with cosines first, as diffusion models have it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional as F

EpsModel = Callable[[Float[Tensor, "batch *rest"], Int64[Tensor, "batch"]], Float[Tensor, "batch *rest"]]


def timestep_embedding(t: Int64[Tensor, "batch"], dim: int, max_period: float = 10000) -> Float32[Tensor, "batch dim"]:
    """Sinusoids of t: half = dim // 2 cosines, then the sines of the same angles, then a 0 if dim is odd.

    The frequencies fall geometrically from 1 (i = 0), never quite to 1 / max_period. The result is float32, on the
    device of t. Raises ValueError if dim < 2 or t is not 1-d.
    """
    # kata: begin
    if dim < 2:
        raise ValueError(f"dim must be at least 2, got {dim}")
    if t.dim() != 1:
        raise ValueError(f"t must have shape [batch], but has {list(t.shape)}")
    half = dim // 2
    frequencies = max_period ** (-torch.arange(half, dtype=torch.float64, device=t.device) / half)
    angles = t[:, None] * frequencies  # [batch, half], in float64: a float32 angle near 1000 is known to 1e-4 at best
    return F.pad(torch.cat([angles.cos(), angles.sin()], 1).float(), (0, dim % 2))  # [batch, 2 * half] -> [batch, dim]
    # kata: end


def ddpm_loss(
    eps_model: EpsModel,
    x0: Float[Tensor, "batch *rest"],
    alphas_cumprod: Float[Tensor, "steps"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """DDPM's simple loss on one batch: the mean over all elements of the squared error of the predicted noise.

    For each element of the batch t is drawn uniformly from all steps, and fresh standard normal noise for each number.
    `eps_model(x_t, t)` is called once, with x_t in the dtype of x0 and t as int64 [batch]. The coefficients are
    computed in the schedule's dtype or better and only then cast (1 - 0.9999 is 0 in bfloat16). The loss is a 0-d
    tensor in the dtype of x0, differentiable in the model's parameters. With a `generator`, nothing else is a source of
    randomness.
    """
    # kata: begin
    t = torch.randint(len(alphas_cumprod), x0.shape[:1], generator=generator, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    abar = alphas_cumprod[t].reshape(-1, *[1] * (x0.dim() - 1))  # [batch] -> [batch, 1, ..., 1]
    x_t = abar.sqrt().to(x0.dtype) * x0 + (1 - abar).sqrt().to(x0.dtype) * noise
    return F.mse_loss(eps_model(x_t, t), noise)
    # kata: end


def ema_update(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """One step of the moving average: every parameter of `ema` moves towards `model`'s, every buffer is copied.

    `ema` began as a deepcopy of `model`, so both list their parameters and buffers in the same order. Everything is
    written in place (what refers to a tensor of `ema` sees the new values), builds no graph, and shares no memory with
    `model`, which stays as it is. Averages are kept in the dtype of `ema`, which may be wider than the model's: with a
    decay of 0.9999 an average in bfloat16 would never move. A weight that several layers share is averaged once, and
    requires_grad plays no part. What happens to parameters that are not floating-point is free. All buffers are copied,
    integer or float, persistent or not: BatchNorm's statistics are averages already. Nothing but these values changes:
    no flag, and neither module's mode (train or eval).
    Raises ValueError unless 0 <= decay <= 1, or if the two have different numbers of parameters or buffers.
    """
    # kata: begin
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be from 0 to 1, got {decay}")
    with torch.no_grad():
        for average, parameter in zip(ema.parameters(), model.parameters(), strict=True):  # names a shared one once
            average.lerp_(parameter.to(average), 1 - decay)
        for copied, buffer in zip(ema.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)
    # kata: end
