"""What any right metrics do. Matrices are asymmetric and have absent classes, so that no two conventions agree."""

import torch

from dojo.testing import expect, expect_close, expect_equal
from katas.classification_metrics import confusion_matrix

AVERAGES = ["none", "macro", "micro", "weighted"]
# 20 samples, supports 6, 6 and 8, predicted 7, 8 and 5 times: every sum is another number.
MATRIX = torch.tensor([[5, 1, 0], [2, 3, 1], [0, 4, 4]])


def expect_scores(scores, expected, what, hint="", within=1e-6):
    """Each of precision, recall and F1, floats or tensors, within 1e-6: stage 3 is the one that is strict about types."""
    expect(len(scores) == 3, f"{what} should be (precision, recall, f1), but has {len(scores)} parts")
    for name, score, want in zip(("precision", "recall", "F1"), scores, expected, strict=True):
        score, want = (torch.as_tensor(value, dtype=torch.float64) for value in (score, want))
        expect_close(score, want, what=f"the {name} of {what}", hint=hint, rtol=within, atol=within)


def expect_matrix(targets, predictions, num_classes, expected, hint):
    found = confusion_matrix(torch.tensor(targets), torch.tensor(predictions), num_classes)
    what = f"the matrix of targets {targets} and predictions {predictions}"
    expect_equal(found, torch.tensor(expected), what=what, hint=hint)
