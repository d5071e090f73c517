"""What any right stopper and schedules do. Values and rates are short binary fractions, so that `>` means what it says."""

import torch

from dojo.testing import expect_close, expect_equal
from katas.early_stopping import EarlyStopping


def expect_stop(values, epoch, hint, **options):
    """Exactly the epoch numbered `epoch` (from 1) and those after it are told to stop; 0: none is."""
    stopper = EarlyStopping(**options)
    answers = [bool(stopper.step(value)) for value in values]
    want = [0 < epoch <= number for number in range(1, len(values) + 1)]
    shown = ", ".join(f"{key}={value!r}" for key, value in options.items())
    expect_equal(answers, want, what=f"what EarlyStopping({shown}) says to {list(values)}", hint=hint)


def expect_rates(rates, want, what, hint):
    rates = torch.tensor([float(rate) for rate in rates], dtype=torch.float64)
    want = torch.tensor(want, dtype=torch.float64)
    expect_close(rates, want, what=what, hint=hint, rtol=1e-12, atol=1e-15)
