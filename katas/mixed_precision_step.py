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
        raise NotImplementedError("mixed_precision_step.LossScaler.__init__: write me")

    def scale_loss(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """loss * scale, with the graph of loss; in float32 where loss is float16 or bfloat16. loss is not modified."""
        raise NotImplementedError("mixed_precision_step.LossScaler.scale_loss: write me")

    def unscale(self, grads: list[Float32[Tensor, "..."]]) -> bool:
        """Divides every gradient by the scale, in place. Returns True if any of them holds an infinity or a NaN.

        What is left in the gradients is up to you when it returns True. No gradients: False.
        """
        raise NotImplementedError("mixed_precision_step.LossScaler.unscale: write me")

    def update(self, found_inf: bool) -> None:
        """Ends a step: with found_inf, the scale is multiplied by backoff_factor, and the count of good steps starts
        again. Otherwise the step is a good one. The growth_interval-th good step in a row multiplies the scale by
        growth_factor, and the count starts again.
        """
        raise NotImplementedError("mixed_precision_step.LossScaler.update: write me")

    def state_dict(self) -> dict[str, Any]:
        """All that changes during training, as a dict of plain numbers that later updates leave as it is."""
        raise NotImplementedError("mixed_precision_step.LossScaler.state_dict: write me")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the scaler that gave `state`, and was made with the same arguments, stood."""
        raise NotImplementedError("mixed_precision_step.LossScaler.load_state_dict: write me")


class MasterWeights:
    """float32 copies of a model's parameters, for the optimizer to hold and to update.

    Attribute: `masters`, a list of float32 leaf tensors, one for each parameter, in the order of `params`.
    """

    def __init__(self, params: Iterable[nn.Parameter]) -> None:
        """Copies every parameter. No master shares memory with its parameter, not even if that is float32."""
        raise NotImplementedError("mixed_precision_step.MasterWeights.__init__: write me")

    def take_gradients(self) -> None:
        """Each parameter's .grad, in float32, becomes the .grad of its master, in place of what was there.

        A parameter without gradient (None) leaves its master without. Whether parameters keep theirs is up to you.
        """
        raise NotImplementedError("mixed_precision_step.MasterWeights.take_gradients: write me")

    def write_back(self) -> None:
        """Rounds every master into its parameter, in place: the model keeps its parameters, their dtype and memory."""
        raise NotImplementedError("mixed_precision_step.MasterWeights.write_back: write me")


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
    raise NotImplementedError("mixed_precision_step.train_step: write me")
