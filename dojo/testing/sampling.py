"""Random inputs for tests, and the check that a sampler draws from the right distribution."""

from collections.abc import Callable

import torch
from torch import Tensor

from dojo.testing.checks import Wrong
from dojo.testing.chi_square import fit_p_value
from dojo.testing.describe import describe


def randn(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers from `rng`. They are drawn in float64, so that every dtype gets the same numbers."""
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)


def randint(rng: torch.Generator, low: int, high: int, *shape: int) -> Tensor:
    """int64 numbers in [low, high) from `rng`."""
    return torch.randint(low, high, shape, generator=rng)


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers of float64 in [low, high) from `rng`."""
    return low + (high - low) * torch.rand(shape, generator=rng, dtype=torch.float64)


def draw(sample: Callable[[], Tensor], at_least: int) -> Tensor:
    """Calls `sample` until there are `at_least` draws; returns all of them, flattened."""
    draws = [sample().flatten()]
    while sum(d.numel() for d in draws) < at_least:
        draws.append(sample().flatten())
    return torch.cat(draws)


def expect_distribution(
    draws: Tensor, probs: Tensor, *, what: str = "the samples", hint: str = "", false_alarm: float = 1e-6
) -> None:
    """`draws` (int64, any shape) follow `probs` [categories]: none where it is 0, and a chi-square test on the others.

    A right sampler fails with a probability of about `false_alarm`. Categories that are expected fewer than 30 times are
    pooled: with the textbook's 5, Pearson's approximation rejects several times too often so far out in its tail.
    """
    if not isinstance(draws, Tensor) or draws.is_floating_point() or draws.is_complex() or draws.dtype == torch.bool:
        raise Wrong(f"{what} should be an integer tensor, but is {describe(draws)}", hint=hint)
    draws, probs = draws.flatten().cpu(), probs.to(torch.float64).cpu()
    if not draws.numel():
        raise Wrong(f"{what} should be drawn, but the result is empty", hint=hint)
    if not (0 <= int(draws.min()) and int(draws.max()) < probs.numel()):
        raise Wrong(
            f"{what} should lie in [0, {probs.numel()}), but reach from {draws.min()} to {draws.max()}", hint=hint
        )
    counts = torch.bincount(draws, minlength=probs.numel()).to(torch.float64)
    forbidden = ((probs == 0) & (counts > 0)).nonzero().flatten().tolist()
    if forbidden:
        times = int(counts[forbidden[0]])
        raise Wrong(
            f"{what} should never be {forbidden[0]} (its probability is 0), but were {times} of {draws.numel()} times",
            hint=hint,
        )
    p_value = fit_p_value(counts, probs)
    if not p_value >= false_alarm:
        expected = probs * draws.numel()
        worst = int(((counts - expected).abs() / expected.clamp(min=1e-9).sqrt()).argmax())
        share = counts[worst].item() / draws.numel()
        p_text = f"p = {p_value:.1e}" if p_value > 1e-300 else "p < 1e-300"
        raise Wrong(
            f"{what} should be {worst} with probability {probs[worst]:.4f}, but were so {share:.4f} of the time "
            f"(chi-square over {draws.numel()} draws: {p_text})",
            hint=hint,
        )
