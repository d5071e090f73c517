"""What a kata's tests may import: checks whose failure is a sentence for the learner.

Every check takes `what` (the expression under test, as the learner would name it) and `hint` (the likely mistake).
The message shows the expected value, what came instead, and the hint; the pytest plugin prints it above the traceback.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dojo.testing.cost import Cost, measure

__all__ = [
    "Cost",
    "Wrong",
    "draw",
    "expect",
    "expect_close",
    "expect_distribution",
    "expect_equal",
    "expect_raises",
    "expect_rng_untouched",
    "expect_unchanged",
    "measure",
    "randint",
    "randn",
]


RARE = 30  # expected counts below this are pooled


class Wrong(AssertionError):
    """A wrong answer, explained: the message is the whole explanation."""


def randn(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers from `rng`; drawn in float64, so every dtype sees the same numbers."""
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)


def randint(rng: torch.Generator, low: int, high: int, *shape: int) -> Tensor:
    """int64 in [low, high) from `rng`."""
    return torch.randint(low, high, shape, generator=rng)


def expect(condition: object, sentence: str, *, hint: str = "") -> None:
    """Fail with `sentence` unless `condition` holds. The sentence says what should have been and what was."""
    if not bool(condition):
        raise Wrong(_message(sentence, hint=hint))


def expect_equal(actual: Any, expected: Any, *, what: str = "the result", hint: str = "") -> None:
    """Exact equality, of plain values or of tensors (same shape and dtype, every element the same)."""
    if isinstance(expected, Tensor):
        expect_close(actual, expected, what=what, hint=hint, rtol=0.0, atol=0.0)
    elif isinstance(actual, Tensor):
        kind = f"a tensor ({_short(actual)})" if actual.numel() <= 12 else _short(actual)
        raise Wrong(_message(f"{what} should be {expected!r}, but is {kind}", hint=hint))
    elif actual != expected:
        raise Wrong(_message(f"{what} should be {expected!r}, but is {_short(actual)}", hint=hint))


def expect_close(
    actual: Any,
    expected: Tensor,
    *,
    what: str = "the result",
    hint: str = "",
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """`torch.testing.assert_close` (dtype, shape, device, values; NaN is never right) that explains itself.

    Tolerances default to torch's for the dtype; give both or neither, and say in the test why they are looser.
    """
    if not isinstance(actual, Tensor):
        raise Wrong(
            _message(f"{what} should be a tensor of shape {list(expected.shape)}, but is {_short(actual)}", hint=hint)
        )
    if actual.shape != expected.shape:
        raise Wrong(
            _message(f"{what} should have shape {list(expected.shape)}, but has {list(actual.shape)}", hint=hint)
        )
    if actual.dtype != expected.dtype:
        raise Wrong(_message(f"{what} should keep dtype {expected.dtype}, but is {actual.dtype}", hint=hint))
    actual, expected = actual.detach(), expected.detach()
    try:
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)
    except AssertionError as error:
        raise Wrong(
            _difference(actual, expected, what, hint, rtol, atol) or _message(f"{what}: {error}", hint=hint)
        ) from None


def expect_distribution(
    draws: Tensor, probs: Tensor, *, what: str = "the samples", hint: str = "", false_alarm: float = 1e-6
) -> None:
    """`draws` (int64, any shape) follow `probs` [categories]: no draw where it is 0, and a chi-square test elsewhere.

    A right sampler fails with a probability of about `false_alarm`. Categories expected fewer than 30 times are pooled:
    with the textbook's 5, Pearson's approximation is several times too eager this far out in its tail.
    """
    if not isinstance(draws, Tensor) or draws.is_floating_point() or draws.is_complex() or draws.dtype == torch.bool:
        raise Wrong(_message(f"{what} should be an integer tensor, but is {_short(draws)}", hint=hint))
    draws, probs = draws.flatten().cpu(), probs.to(torch.float64).cpu()
    if not draws.numel():
        raise Wrong(_message(f"{what} should be drawn, but the result is empty", hint=hint))
    if not (0 <= int(draws.min()) and int(draws.max()) < probs.numel()):
        raise Wrong(
            _message(
                f"{what} should lie in [0, {probs.numel()}), but reach from {draws.min()} to {draws.max()}", hint=hint
            )
        )
    counts = torch.bincount(draws, minlength=probs.numel()).to(torch.float64)
    forbidden = ((probs == 0) & (counts > 0)).nonzero().flatten().tolist()
    if forbidden:
        times = int(counts[forbidden[0]])
        raise Wrong(
            _message(
                f"{what} should never be {forbidden[0]} (its probability is 0), but were {times} of {draws.numel()} times",
                hint=hint,
            )
        )
    p_value = chi_square(counts, probs)
    if not p_value >= false_alarm:
        worst = int(((counts - probs * draws.numel()).abs() / (probs * draws.numel()).clamp(min=1e-9).sqrt()).argmax())
        share = counts[worst].item() / draws.numel()
        raise Wrong(
            _message(
                f"{what} should be {worst} with probability {probs[worst]:.4f}, but were so {share:.4f} of the time "
                f"(chi-square over {draws.numel()} draws: {_p(p_value)})",
                hint=hint,
            )
        )


def chi_square(counts: Tensor, probs: Tensor) -> float:
    """The p-value of Pearson's test that `counts` come from `probs`, with rare categories pooled."""
    expected, order = (probs * counts.sum()).sort()
    counts = counts[order]
    rare = int((expected < RARE).sum())
    while 0 < rare < expected.numel() and expected[:rare].sum() < RARE:
        rare += 1  # a pool that is rare itself takes the next category in
    if rare:
        counts = torch.cat([counts[:rare].sum()[None], counts[rare:]])
        expected = torch.cat([expected[:rare].sum()[None], expected[rare:]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    if counts.numel() < 2:
        return 1.0
    statistic = ((counts - expected) ** 2 / expected).sum()
    return torch.special.gammaincc(torch.tensor((counts.numel() - 1) / 2, dtype=torch.float64), statistic / 2).item()


@contextmanager
def expect_raises(
    kind: type[BaseException] | tuple[type[BaseException], ...] = ValueError, *, what: str = "this call", hint: str = ""
) -> Iterator[None]:
    """The block raises `kind`; a `NotImplementedError` of an unfinished kata passes through as such."""
    names = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
    try:
        yield
    except kind:
        return
    except NotImplementedError:
        raise
    except Exception as error:
        raise Wrong(
            _message(f"{what} should raise {names}, but raised {type(error).__name__}: {error}", hint=hint)
        ) from error
    raise Wrong(_message(f"{what} should raise {names}, but returned normally", hint=hint))


@contextmanager
def expect_unchanged(
    *tensors: Tensor, what: str = "the input", hint: str = "work out of place, or on a clone"
) -> Iterator[None]:
    """The block leaves every one of `tensors` exactly as it was."""
    before = [t.detach().clone() for t in tensors]
    yield
    for old, new in zip(before, tensors, strict=True):
        new = new.detach()
        same = old.shape == new.shape and bool(((old == new) | ((old != old) & (new != new))).all())
        expect(same, f"{what} should not be modified, but the call changed it", hint=hint)


@contextmanager
def expect_rng_untouched(
    *, what: str = "the call", hint: str = "pass `generator` on to everything that draws"
) -> Iterator[None]:
    """The block draws nothing from torch's global random stream."""
    before = torch.random.get_rng_state()
    yield
    same = torch.equal(before, torch.random.get_rng_state())
    expect(same, f"{what} should leave the global random stream alone, but drew from it", hint=hint)


def draw(sample: Callable[[], Tensor], at_least: int) -> Tensor:
    """Calls `sample` until it has given `at_least` draws; returns them flattened."""
    draws = [sample().flatten()]
    while sum(d.numel() for d in draws) < at_least:
        draws.append(sample().flatten())
    return torch.cat(draws)


def _difference(actual: Tensor, expected: Tensor, what: str, hint: str, rtol: float | None, atol: float | None) -> str:
    """The first and the largest difference in words; empty when no single element tells (another device, say)."""
    if actual.device != expected.device or actual.layout != expected.layout or not actual.numel():
        return ""
    tolerance: dict[str, Any] = {} if rtol is None or atol is None else {"rtol": rtol, "atol": atol}
    default = {torch.float16: 1e-3, torch.bfloat16: 1.6e-2, torch.float32: 1.3e-6}
    if not tolerance:
        exact = not (actual.is_floating_point() or actual.is_complex())
        tolerance = {"rtol": 0.0 if exact else default.get(actual.dtype, 1e-7), "atol": 0.0 if exact else 1e-7}
    wrong = ~torch.isclose(actual, expected, **tolerance)
    if not wrong.any():
        return ""
    first = wrong.nonzero()[0].tolist()
    where = f" at {first}" if first else ""
    got, wanted = actual[tuple(first)].item(), expected[tuple(first)].item()
    digits = 6 if _number(got, 6) != _number(wanted, 6) else 17
    head = f"{what}{where} should be {_number(wanted, digits)}, but is {_number(got, digits)}"
    if got != got and wanted != wanted:
        head = f"{what}{where} is NaN, and so is what it is compared with, which your code gave too"
    if actual.numel() > 1:
        head += f" ({int(wrong.sum())} of {actual.numel()} values differ)"
    shown = ""
    if 1 < actual.numel() <= 24:
        shown = f"expected  {_flat(expected)}\ngot       {_flat(actual)}"
    return _message(head, shown, hint=hint)


def _message(*parts: str, hint: str = "") -> str:
    lines = [part for part in parts if part]
    if hint:
        lines.append(f"hint: {hint}")
    return "\n".join(lines)


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else repr(value)


def _p(value: float) -> str:
    return f"p = {value:.1e}" if value > 1e-300 else "p < 1e-300"


def _flat(tensor: Tensor) -> str:
    def text(value: Any) -> str:
        return (
            "[" + ", ".join(map(text, value)) + "]"
            if isinstance(value, list)
            else f"{value:.4g}"
            if isinstance(value, float)
            else str(value)
        )

    return text(tensor.tolist())


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return _flat(value) if value.numel() <= 12 else f"a tensor of shape {list(value.shape)} and dtype {value.dtype}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def cuda_missing() -> str:
    """Why CUDA cannot be used here; empty where it can."""
    if torch.cuda.is_available():
        return ""
    return (
        "needs a CUDA device: this torch is a CPU build"
        if not torch.version.cuda
        else "needs a CUDA device: none was found"
    )
