"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest

from dojo.testing import expect_close, expect_equal, randint
from katas.knowledge_distillation import combined_loss, distillation_loss

from .helpers import both


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """The loss is where the logits are, with a mask and without."""
    student, teacher = (logits.float() for logits in both(rng, 3, 40, 300))
    mask = student[..., 0] > 0
    for direction in ("forward", "reverse"):
        for given in (None, mask):
            want = distillation_loss(student, teacher, 2.0, mask=given, direction=direction)
            moved = None if given is None else given.cuda()
            got = distillation_loss(student.cuda(), teacher.cuda(), 2.0, mask=moved, direction=direction)
            expect_equal(got.device.type, "cuda", what="the device of distillation_loss")
            expect_close(got.cpu(), want, what=f"distillation_loss, {direction}, on the GPU", rtol=1e-5, atol=1e-5)
    targets, options = randint(rng, 0, 300, 40), {"temperature": 3.0, "alpha": 0.4}
    got = combined_loss(student[0].cuda(), teacher[0].cuda(), targets.cuda(), **options)
    want = combined_loss(student[0], teacher[0], targets, **options)
    expect_equal(got.device.type, "cuda", what="the device of combined_loss")
    expect_close(got.cpu(), want, what="combined_loss on the GPU", rtol=1e-5, atol=1e-5)
