"""Stage 4. Cost."""

from dojo.testing import expect, expect_equal, randint
from katas.classification_metrics import confusion_matrix


def test_the_matrix_takes_one_pass_over_the_labels(rng, cost):
    """A one-hot product moves samples x classes numbers, a loop over samples or classes starts an operator for each.
    A range check, one multiplication and a bincount move about 6 times the labels; the limit is 25."""
    classes, targets = 200, randint(rng, 0, 200, 20_000)
    predictions = (targets + randint(rng, 0, 2, 20_000)) % classes
    with cost() as spent:
        matrix = confusion_matrix(targets, predictions, classes)
    expect_equal(int(matrix.sum()), 20_000, what="the number of samples counted")
    hint = "number the cells, row * C + column, and count the numbers: no loop, no [samples, classes] tensor"
    times = (spent.bytes - 8 * matrix.nbytes) / (targets.nbytes + predictions.nbytes)
    found = f"the labels' bytes should be moved at most 25 times, but were moved {times:.0f} times"
    expect(times <= 25, found, hint=hint)
    expect(spent.operators <= 50, f"at most 50 operators should run, but {spent.operators} did", hint=hint)
