"""The mixed precision step: loss scaling, master weights and skipped steps.

Train a float16 model: loss scaling, float32 master weights, clipping, and a step that overflows. In which order?

float16 ends at 65504 and loses what is below 6e-8, and next to 1 it has steps of 1e-3. So gradients vanish, large ones
become infinite, and small updates of a weight round to nothing. Three remedies:

    loss scaling      the loss is multiplied by a scale before backward, and so are all gradients; they are divided by
                      it in float32, as the first thing that happens to them there
    skipped steps     if a gradient is infinite or NaN, the scale was too large: this step changes no weight and no
                      state of the optimizer, and the scale shrinks; after many good steps in a row it grows
    master weights    the optimizer holds float32 copies of the weights and updates those; the model gets them rounded

The caller has built the optimizer on the masters: `masters = MasterWeights(model.parameters())`, then
`optimizer = AdamW(masters.masters)`. The model is in float16, bfloat16 or float32, and its loss in any of them.

Rules: GradScaler (torch.amp, and torch.cuda or torch.cpu, which have it as well) and the operators that it is made of
(torch._amp_...) are not allowed. torch.nn.utils and the optimizers are. All scales in tests stay between 1 and 2^24;
whether yours has limits beyond that is up to you.

Stage 1: the scaler, the masters, the step.  Stage 2: overflows and what they leave alone, several micro-batches,
clipping, the scaler's state, parameters without gradients, wrong arguments.  Stage 3: float16 at its ends, other
dtypes.  Stage 4: one forward and one backward for each micro-batch, before the next one begins; the host reads numbers
from the device (bool(), float(), item()) equally often for any number of parameters and micro-batches, and unscale reads
one at most; no copy is made of weights or of the optimizer's state, and only one of the gradients, in float32.

Source: Micikevicius et al., "Mixed Precision Training" (2018).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.optim import Optimizer


class StepResult(NamedTuple):
    """What one step came to, as Python numbers."""

    loss: float  # the sum of the micro-batches' losses, not scaled, whether the step was skipped or not
    grad_norm: float  # of the unscaled gradients, before clipping; inf if the step was skipped
    skipped: bool


class LossScaler:
    """The scale of the loss, which shrinks after an overflow and grows after many steps without one.

    Attribute: `scale`, a float, the current scale.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        """Raises ValueError unless init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and growth_interval >= 1."""
        # kata: begin
        if not init_scale > 0:
            raise ValueError(f"init_scale must be above 0, got {init_scale}")
        if not growth_factor > 1:
            raise ValueError(f"growth_factor must be above 1, got {growth_factor}")
        if not 0 < backoff_factor < 1:
            raise ValueError(f"backoff_factor must lie between 0 and 1, got {backoff_factor}")
        if growth_interval < 1:
            raise ValueError(f"growth_interval must be at least 1, got {growth_interval}")
        self.scale = init_scale
        self.growth_factor = growth_factor
        self.backoff_factor = backoff_factor
        self.growth_interval = growth_interval
        self.good_steps = 0  # in a row, since the scale last changed
        # kata: end

    def scale_loss(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """loss * scale, with the graph of loss; in float32 where loss is float16 or bfloat16. loss is not modified."""
        # kata: begin
        return loss.to(torch.promote_types(loss.dtype, torch.float32)) * self.scale
        # kata: end

    def unscale(self, grads: list[Float32[Tensor, "..."]]) -> bool:
        """Divides every gradient by the scale, in place. Returns True if any of them holds an infinity or a NaN.

        What is left in the gradients is up to you when it returns True. No gradients: False.
        """
        # kata: begin
        if not grads:
            return False
        for grad in grads:
            grad.div_(self.scale)
        # One transfer for all of them: a bool() of each would make the host wait for the device once per parameter.
        return not torch.stack([grad.isfinite().all() for grad in grads]).all()
        # kata: end

    def update(self, found_inf: bool) -> None:
        """Ends a step: with found_inf, the scale is multiplied by backoff_factor, and the count of good steps starts
        again. Otherwise the step is a good one. The growth_interval-th good step in a row multiplies the scale by
        growth_factor, and the count starts again.
        """
        # kata: begin
        self.good_steps = 0 if found_inf else self.good_steps + 1
        if found_inf:
            self.scale *= self.backoff_factor
        elif self.good_steps == self.growth_interval:
            self.scale *= self.growth_factor
            self.good_steps = 0
        # kata: end

    def state_dict(self) -> dict[str, Any]:
        """All that changes during training, as a dict of plain numbers that later updates leave as it is."""
        # kata: begin
        return {"scale": self.scale, "good_steps": self.good_steps}
        # kata: end

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the scaler that gave `state`, and was made with the same arguments, stood."""
        # kata: begin
        self.scale, self.good_steps = state["scale"], state["good_steps"]
        # kata: end


class MasterWeights:
    """float32 copies of a model's parameters, for the optimizer to hold and to update.

    Attribute: `masters`, a list of float32 leaf tensors, one for each parameter, in the order of `params`.
    """

    def __init__(self, params: Iterable[nn.Parameter]) -> None:
        """Copies every parameter. No master shares memory with its parameter, not even if that is float32."""
        # kata: begin
        self.params = list(params)
        self.masters = [param.detach().to(torch.float32, copy=True) for param in self.params]
        # kata: end

    def take_gradients(self) -> None:
        """Each parameter's .grad, in float32, becomes the .grad of its master, in place of what was there.

        A parameter without gradient (None) leaves its master without. Whether parameters keep theirs is up to you.
        """
        # kata: begin
        for param, master in zip(self.params, self.masters, strict=True):
            master.grad = None if param.grad is None else param.grad.float()
            param.grad = None
        # kata: end

    def write_back(self) -> None:
        """Rounds every master into its parameter, in place: the model keeps its parameters, their dtype and memory."""
        # kata: begin
        with torch.no_grad():
            for param, master in zip(self.params, self.masters, strict=True):
                param.copy_(master)
        # kata: end


def train_step(
    model: nn.Module,
    batches: list[Any],
    loss_fn: Callable[[nn.Module, Any], Float[Tensor, ""]],
    optimizer: Optimizer,
    masters: MasterWeights,
    scaler: LossScaler,
    *,
    max_norm: float | None,
) -> StepResult:
    """One step of the optimizer on the sum of loss_fn(model, batch) over the micro-batches `batches`.

    The caller has divided already: the micro-batches' losses are shares, which add up to the loss of the step. Their
    gradients may add up in .grad, as backward does it, or in float32.

    If the norm of all gradients together (L2, in float32) is above max_norm, all of them are scaled by the same factor,
    so that it is max_norm; 1e-6 beside the norm in a denominator, as torch has it, is right as well. None: no clipping.
    A step with an infinite or NaN gradient is skipped: no weight, master or state of the optimizer changes. The scaler
    is updated once a step, skipped or not. No parameter and no master has a gradient afterwards (None, or zeros).

    Raises ValueError, before anything changes, if there is no micro-batch, or unless max_norm > 0.
    """
    # kata: begin
    if not batches:
        raise ValueError("a step needs a micro-batch, got none")
    if max_norm is not None and not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, or None, got {max_norm}")
    total: Tensor | float = 0.0
    for batch in batches:
        loss = loss_fn(model, batch)
        scaler.scale_loss(loss).backward()
        total += loss.detach().float()  # stays on the device until the end
    masters.take_gradients()
    skipped = scaler.unscale([master.grad for master in masters.masters if master.grad is not None])
    grad_norm = math.inf
    if not skipped:
        most = math.inf if max_norm is None else max_norm
        grad_norm = float(nn.utils.clip_grad_norm_(masters.masters, most))
        optimizer.step()
        masters.write_back()
    scaler.update(skipped)
    optimizer.zero_grad()
    return StepResult(float(total), grad_norm, skipped)
    # kata: end
