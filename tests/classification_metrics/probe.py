"""What can be seen of classification metrics: the matrices of labels, the scores of matrices, and what counting costs."""

import torch

from dojo.testing import randint
from dojo.testing.cost import measure
from dojo.testing.probes import Case

OF = ("confusion_matrix", "precision_recall_f1", "accuracy")
AVERAGES = ("none", "macro", "micro", "weighted")


def labels(name, targets, predictions, classes):
    return Case(
        name, of=OF[0], targets=torch.as_tensor(targets), predictions=torch.as_tensor(predictions), classes=classes
    )


def cases(rng):
    yield labels("labels", randint(rng, 0, 4, 60), randint(rng, 0, 3, 60), 4)
    yield labels("absent classes", randint(rng, 0, 3, 40), randint(rng, 0, 3, 40), 9)
    yield labels("no labels", randint(rng, 0, 3, 0), randint(rng, 0, 3, 0), 3)
    yield labels("label maps", randint(rng, 0, 3, 2, 3, 4), randint(rng, 0, 3, 2, 3, 4), 3)
    yield labels("uint8", randint(rng, 0, 20, 90).byte(), randint(rng, 0, 20, 90).byte(), 20)
    yield labels("int32", randint(rng, 0, 9, 30).int(), randint(rng, 0, 9, 30).int(), 9)
    for target, prediction in ((-1, 1), (1, -1), (3, 1), (1, 3), (255, 1)):
        yield labels(f"target {target}, prediction {prediction}", [0, target], [0, prediction], 3)
    yield labels("shapes", [0, 1, 1], [[1], [0], [1]], 2)
    yield labels("sizes", [0, 1, 1], [1, 1], 2)
    yield labels("cost", randint(rng, 0, 200, 20_000), randint(rng, 0, 200, 20_000), 200)
    absent = torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]) * randint(rng, 1, 40, 4, 4)
    large = torch.tensor([[2**24 + 1, 1], [2**25, 2**26 + 1]]) + 2 * randint(rng, 0, 2**23, 2, 2)
    matrices = {
        "plain": randint(rng, 1, 9, 4, 4),
        "more": randint(rng, 0, 200, 7, 7),
        "absent": absent,
        "empty": absent * 0,
        "single": torch.diag(torch.tensor([1, 0, 0, 0])),
        "large": large,
    }
    for name, matrix in matrices.items():
        for average in AVERAGES:
            yield Case(f"{average} of {name}", of=OF[1], matrix=matrix, average=average)
        yield Case(f"accuracy of {name}", of=OF[2], matrix=matrix)
    nearly = torch.diag(2**25 + randint(rng, 0, 2**25, 3)) + randint(rng, 1, 9, 3, 3)
    yield Case("accuracy of nearly perfect", of=OF[2], matrix=nearly)
    yield Case("unknown average", of=OF[1], matrix=absent, average="samples")
    yield Case("average None", of=OF[1], matrix=absent, average=None)
    perfect = randint(rng, 0, 2, 50)
    yield Case("exact", of=OF[1], matrix=torch.diag(perfect), average="none")


def run(kata, case):
    if case.of == "confusion_matrix":
        with measure() as spent:
            matrix = kata.confusion_matrix(case.targets, case.predictions, case.classes)
        lean = [spent.operators <= 50, spent.bytes <= 25 * 2 * 8 * case.targets.numel() + 8 * matrix.nbytes]
        return {"matrix": matrix} | ({"few operators, few bytes": lean} if case.name == "cost" else {})
    if case.of == "accuracy":
        found = kata.accuracy(case.matrix)
        # What is missing from 1 tells float64 from float32.
        return number(found) | ({"missing": (1 - float(found)) * 1e6} if "nearly" in case.name else {})
    scores = kata.precision_recall_f1(case.matrix, case.average)
    if case.name == "exact":  # 0 and 1, closer than probes compare
        return {"scores": list(scores), "beside them": [(score - score.round()) * 1e3 for score in scores]}
    return {name: number(score) for name, score in zip(("precision", "recall", "F1"), scores, strict=True)}


def number(value):
    """A tensor as it is, or a float with its kind."""
    if isinstance(value, torch.Tensor):
        return {"tensor": value}
    return {"float": isinstance(value, float), "value": torch.tensor(float(value), dtype=torch.float64)}
