"""Language models small enough for every hypothesis to be written out, for the tests of searches."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dojo.testing.checks import expect

Model = Callable[[Tensor], Tensor]  # tokens [rows, length] -> log-probabilities [rows, vocab]


def markov(rows: list[list[float]]) -> Model:
    """A model whose next token depends only on the last one: probabilities, one row for each last token."""
    table = torch.tensor(rows, dtype=torch.float64).log()
    return lambda tokens: table[tokens[:, -1]]


def every_hypothesis(
    model: Model, vocab: int, eos: int, length: int, penalty: float = 0.0, start: int = 0
) -> list[tuple[list[int], float]]:
    """All possible (tokens, score) that end in `eos` or are `length` long, best first."""
    prefixes: list[tuple[list[int], float]] = [([start], 0.0)]
    ended: list[tuple[list[int], float]] = []
    for steps in range(1, length + 1):
        longer = []
        for tokens, total in prefixes:
            row = model(torch.tensor([tokens]))[0].tolist()
            longer += [([*tokens, token], total + row[token]) for token in range(vocab) if row[token] > -math.inf]
        ended += [(t, s / steps**penalty) for t, s in longer if t[-1] == eos or steps == length]
        prefixes = [(t, s) for t, s in longer if t[-1] != eos]
    return sorted(ended, key=lambda pair: -pair[1])


def expect_score(score: float, expected: float, *, what: str, hint: str) -> None:
    """Within 1e-5, relative or absolute: sums may be kept in float32."""
    right = math.isclose(score, expected, rel_tol=1e-5, abs_tol=1e-5)
    expect(right, f"{what} should be {expected:.6g}, but is {score:.6g}", hint=hint)


def counting(model: Model) -> tuple[Model, list[list[int]]]:
    """The model, and the list of the shapes of the prefixes that it is called with."""
    shapes = []

    def counted(tokens: Tensor) -> Tensor:
        shapes.append(list(tokens.shape))
        return model(tokens)

    return counted, shapes
