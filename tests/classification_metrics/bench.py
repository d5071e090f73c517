"""The floor of counting is reading both label vectors once (and touching the matrix)."""

from functools import partial

import torch

from dojo.testing.bench import work


def in_lists(targets, predictions, classes):
    matrix = [[0] * classes for _ in range(classes)]
    for target, prediction in zip(targets.tolist(), predictions.tolist(), strict=True):
        matrix[target][prediction] += 1
    return torch.tensor(matrix)


def sklearn_matrix(targets, predictions, classes):
    from sklearn.metrics import confusion_matrix

    pair = targets.cpu().numpy(), predictions.cpu().numpy()
    return lambda: torch.from_numpy(confusion_matrix(*pair, labels=range(classes)))


def sklearn_scores(targets, predictions):
    from sklearn.metrics import precision_recall_fscore_support

    pair = targets.cpu().numpy(), predictions.cpu().numpy()
    return lambda: list(map(float, precision_recall_fscore_support(*pair, average="macro", zero_division=0.0)[:3]))


@work(
    samples=100_000,
    classes=100,
    sweep={"samples": (12_500, 25_000, 50_000, 1_000_000), "classes": (10, 1000)},
    grows={"samples": 1, "classes": 0},
    tiny={"samples": 50_000, "classes": 10},
)
def matrix(bench, samples, classes):
    """The confusion matrix."""
    targets, predictions = bench.randint(classes, samples), bench.randint(classes, samples)
    bench.katas(lambda kata: partial(kata.confusion_matrix, targets, predictions, classes))
    bench.way("naive: counted in lists", partial(in_lists, targets, predictions, classes))
    bench.peer("sklearn", lambda: sklearn_matrix(targets, predictions, classes))
    bench.same()
    bench.floor(bytes=targets.nbytes + predictions.nbytes)


@work(samples=100_000, classes=100, grows={"samples": 1}, tiny={"samples": 50_000, "classes": 10})
def scores(bench, samples, classes):
    """Macro precision, recall and F1 from the labels."""
    targets, predictions = bench.randint(classes, samples), bench.randint(classes, samples)

    def of_kata(kata):
        def run():
            return list(kata.precision_recall_f1(kata.confusion_matrix(targets, predictions, classes), "macro"))

        return run

    bench.katas(of_kata)
    bench.peer("sklearn", lambda: sklearn_scores(targets, predictions))
    bench.same()
    bench.floor(bytes=targets.nbytes + predictions.nbytes)
