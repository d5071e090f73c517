"""Classifier-free guidance.

How does one diffusion model follow its prompt more strictly at a scale of 7.5, with no classifier anywhere? Write the
guided noise prediction, the dropping of conditions that makes it possible in training, and the rescaling against
over-saturated pictures.

The model is trained with the condition c and, now and then, with a null condition. At sampling both predictions are
made, and guidance goes from one through the other:
    eps = eps_uncond + scale (eps_cond - eps_uncond)
Scale 0 is unconditional, 1 conditional, and more than 1 exaggerates whatever the condition changes. (The first paper
writes the same with w = scale - 1.) A large scale also raises the contrast; its cure is
    rescaled = guided std(eps_cond) / std(guided),        eps = phi rescaled + (1 - phi) guided

Rules: everything that torch offers may be called. x_t is [batch, *rest], t is int64 [batch], and `cond` is any tensor
[batch, *cond]: class labels [batch], text embeddings [batch, tokens, dim]. `null_cond` has the dtype of `cond` and
broadcasts against it ([*cond], [1, *cond] or [batch, *cond]; a 0-d tensor for labels). No argument is modified.

Stage 1: the four formulas.  Stage 2: any shapes, labels, mixed timesteps, wrong arguments.  Stage 3: dtypes,
gradients, generators.  Stage 4: guidance costs exactly two forwards of the model, in one call, and dropping and
rescaling take no more operators for a larger batch.

Sources: Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022); Lin et al., "Common Diffusion Noise Schedules and
Sample Steps are Flawed" (2023), section 3.4, for the rescaling.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

Model = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t, t, cond) -> eps, of the shape of x_t; each row on its own


def guide(
    eps_uncond: Float[Tensor, "*shape"], eps_cond: Float[Tensor, "*shape"], scale: float
) -> Float[Tensor, "*shape"]:
    """eps_uncond + scale (eps_cond - eps_uncond), for any scale: below 0 (away from the condition) and between 0 and 1
    too. Keeps the dtype."""
    # kata: begin
    return eps_uncond + scale * (eps_cond - eps_uncond)
    # kata: end


def guided_eps(
    model: Model,
    x_t: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    cond: Shaped[Tensor, "batch *cond"],
    null_cond: Shaped[Tensor, "*#null"],
    scale: float,
) -> Float[Tensor, "batch *rest"]:
    """The guided prediction at x_t, from one call `model(x, t, cond)` on a batch of 2 x batch rows.

    Each row appears twice, with its own t: once with its condition, once with the null condition; in which order is
    yours. Where the scale (0 or 1) leaves one of the two without weight, you may leave those rows out. Differentiable
    in x_t, cond and null_cond and in the model's weights: whether gradients are wanted is the caller's business.
    """
    # kata: begin
    conds = torch.cat([null_cond.expand_as(cond), cond])  # [2 * batch, *cond]
    eps_uncond, eps_cond = model(torch.cat([x_t, x_t]), torch.cat([t, t]), conds).chunk(2)
    return guide(eps_uncond, eps_cond, scale)
    # kata: end


def drop_condition(
    cond: Shaped[Tensor, "batch *cond"],
    null_cond: Shaped[Tensor, "*#null"],
    p: float,
    *,
    generator: torch.Generator | None = None,
) -> Shaped[Tensor, "batch *cond"]:
    """The conditions for one training step: each row is replaced by the null condition with probability p.

    A row is replaced as a whole or kept as a whole, independently of the other rows and of earlier calls. Gradients
    reach the kept rows of cond and, because a null embedding is often learned, null_cond. With a `generator`, nothing
    else is a source of randomness. Raises ValueError unless 0 <= p <= 1.
    """
    # kata: begin
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie in [0, 1], got {p}")
    drop = torch.rand(cond.shape[0], generator=generator, device=cond.device) < p
    return torch.where(drop.reshape(-1, *[1] * (cond.dim() - 1)), null_cond, cond)  # [batch] -> [batch, 1, ..., 1]
    # kata: end


def rescale_guidance(
    guided: Float[Tensor, "batch *rest"], eps_cond: Float[Tensor, "batch *rest"], phi: float
) -> Float[Tensor, "batch *rest"]:
    """phi x (guided, scaled to the standard deviation of eps_cond) + (1 - phi) x guided.

    The standard deviations are those of each sample, over all its elements (two or more, and not all equal, which is
    the caller's promise). Nothing is centred: samples are only multiplied. Keeps the dtype, differentiable in guided.
    Raises ValueError unless 0 <= phi <= 1.
    """
    # kata: begin
    if not 0 <= phi <= 1:
        raise ValueError(f"phi must lie in [0, 1], got {phi}")
    dims = tuple(range(1, guided.dim()))
    ratio = eps_cond.std(dims, keepdim=True) / guided.std(dims, keepdim=True)  # [batch, 1, ..., 1]
    return guided * (phi * ratio + (1 - phi))
    # kata: end
