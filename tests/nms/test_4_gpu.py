"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest

from dojo.testing import expect_close, expect_equal, randint
from katas.nms import batched_nms, box_iou, nms

from .helpers import distinct, expect_kept, rough


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Indices and masks are made where the boxes are."""
    given, scores, classes = rough(rng, 200), distinct(rng, 200), randint(rng, 0, 5, 200)
    got = box_iou(given.cuda(), given[:30].cuda())
    expect_equal(got.device.type, "cuda", what="the device of the IoU")
    expect_close(got.cpu(), box_iou(given, given[:30]), what="the IoU on the GPU")
    for name, run in (("nms", nms), ("batched_nms", batched_nms)):
        arguments = (given, scores, classes)[: 3 if run is batched_nms else 2]
        got = run(*(each.cuda() for each in arguments), 0.4)
        expect_equal(got.device.type, "cuda", what=f"the device of what {name} returns")
        expect_kept(got.cpu(), run(*arguments, 0.4).tolist(), what=f"{name} on the GPU")
