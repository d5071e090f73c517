"""Two sequences of 64 tokens over 32 000 classes, of which three in four count. The floor reads both logits once."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work


def written_out(student, teacher, mask):
    """The formula as it is written: two softmaxes, their logarithms, and a product with the mask."""
    q, p = torch.softmax(student / 2, -1), torch.softmax(teacher / 2, -1)
    return 4 * ((p * (p.log() - q.log())).sum(-1) * mask).sum() / mask.sum()


def kl_div(student, teacher, mask):
    """All positions, and of them those that count."""
    each = F.kl_div((student / 2).log_softmax(-1), (teacher / 2).softmax(-1), reduction="none").sum(-1)
    return 4 * each[mask].mean()


@work(
    length=64,
    classes=32_000,
    sweep={"length": (16, 32), "classes": (8000, 16_000)},
    grows={"length": 1, "classes": 1},
    tiny={"length": 16, "classes": 500},
)
def masked_loss(bench, length, classes):
    """distillation_loss of two sequences at T = 2."""
    student, teacher = bench.randn(2, length, classes), bench.randn(2, length, classes)
    mask = torch.arange(length, device=student.device).expand(2, -1) >= length // 4
    bench.katas(lambda kata: partial(kata.distillation_loss, student, teacher, 2.0, mask=mask))
    bench.way("naive: softmax and log", partial(written_out, student, teacher, mask))
    bench.way("torch: kl_div", partial(kl_div, student, teacher, mask))
    bench.same(rtol=1e-4, atol=1e-4)
    bench.floor(bytes=2 * student.nbytes)
