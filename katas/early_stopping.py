"""Early stopping and learning-rate schedules.

When do you stop training, and how does the learning rate change until then? Three small pieces that everybody writes
once: a stopper with patience, step decay, and the linear warm-up with cosine decay that most transformers train with.

The stopper sees one number per epoch, say the validation loss. An epoch improves when it beats the best value so far
by more than min_delta; the stopper says stop when `patience` epochs in a row have not. The schedules are functions of
the step alone, so a resumed run needs no state to find its rate:

    step decay:   lr(e) = base_lr * gamma ** floor(e / step_size)
    warm-up:      lr(s) rises linearly from 0 at step 0 to base_lr at step warmup_steps
    cosine:       lr(s) = min_lr + (base_lr - min_lr) * (1 + cos(pi * p)) / 2, and p goes from 0 to 1 after the warm-up

Rules: write them yourself, without torch.optim.lr_scheduler. Epochs and steps count from 0.

Stage 1: patience, both schedules.  Stage 2: min_delta, NaN, after the stop, no warm-up, wrong arguments.
Stage 3: tensors as values, exact numbers, plain floats.  Stage 4: at work on an optimizer, and through a checkpoint.

Sources: Prechelt, "Early Stopping - But When?" (1998); Loshchilov and Hutter, "SGDR" (2017), for the cosine.
"""

import math

from jaxtyping import Float
from torch import Tensor


class EarlyStopping:
    """Says when to stop: after `patience` epochs in a row without an improvement of more than `min_delta`.

    mode "min": lower is better (a loss), and a value below best - min_delta improves. mode "max": higher is better (an
    accuracy), and a value above best + min_delta improves. The first finite value is the best so far, whatever its size
    and sign (an infinite one before it may count as an improvement or not). NaN never improves, not even as the first
    value, and an epoch of NaN counts as one without improvement. min_delta is absolute, in the unit of the values.
    copy.deepcopy of a stopper goes on from where it stands; two stoppers share nothing.

    >>> stopper = EarlyStopping(patience=2)
    >>> [stopper.step(loss) for loss in (0.9, 0.7, 0.8, 0.7, 0.1)]  # 0.8 and 0.7 do not beat 0.7
    [False, False, False, True, True]
    >>> stopper = EarlyStopping(patience=2, min_delta=0.25)
    >>> [stopper.step(loss) for loss in (1.0, 0.875, 0.625, 0.5, 0.375)]  # 0.5 gains 0.125 on 0.625; 0.375 gains 0.25
    [False, False, False, False, True]
    """

    def __init__(self, patience: int, min_delta: float = 0.0, mode: str = "min") -> None:
        """Raises ValueError if patience < 1, if min_delta is negative or NaN, or if mode is not "min" or "max"."""
        raise NotImplementedError("early_stopping.EarlyStopping.__init__: write me")

    def step(self, value: float | Float[Tensor, ""]) -> bool:
        """Takes this epoch's value; True means stop now. The `patience`-th epoch in a row without improvement stops.

        A gain of min_delta or less is no improvement: it neither resets the count nor moves the best value, so small
        gains add up until they are worth more than min_delta together. Once it has said True it says True for ever.
        A 0-d tensor is read at once: it may change, or be freed, afterwards.
        """
        raise NotImplementedError("early_stopping.EarlyStopping.step: write me")


def step_lr(base_lr: float, epoch: int, step_size: int, gamma: float) -> float:
    """The learning rate of `epoch`, counted from 0: base_lr, multiplied by gamma after every step_size epochs.

    Raises ValueError if epoch < 0 or step_size < 1.

    >>> [step_lr(1.0, epoch, step_size=2, gamma=0.5) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    raise NotImplementedError("early_stopping.step_lr: write me")


def warmup_cosine_lr(step: int, *, base_lr: float, warmup_steps: int, total_steps: int, min_lr: float = 0.0) -> float:
    """The learning rate of `step`, counted from 0: linear from 0 to base_lr, then half a cosine from there to min_lr.

    Step warmup_steps has base_lr, and so has step 0 when warmup_steps is 0. Step total_steps and all steps
    after it have min_lr (also where warmup_steps equals total_steps). min_lr is no floor for the warm-up.
    Raises ValueError if step < 0, warmup_steps < 0 or total_steps < warmup_steps.

    >>> [warmup_cosine_lr(s, base_lr=1.0, warmup_steps=2, total_steps=6, min_lr=0.5) for s in (0, 1, 2, 4, 6, 9)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
    """
    raise NotImplementedError("early_stopping.warmup_cosine_lr: write me")
