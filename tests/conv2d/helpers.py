"""Images of small integers, the settings that tests run through, and the gradients by their names."""

from typing import NamedTuple

import torch

from dojo.testing import expect, expect_equal, randint
from katas.conv2d import conv2d_backward

NAMES = ("grad_x", "grad_weight", "grad_bias")


class Setting(NamedTuple):
    """A size of the image and of the kernel, stride and padding, and the size of the result."""

    image: tuple
    kernel: tuple
    stride: int | tuple
    padding: int | tuple
    result: tuple


# The second half has pixels that no window reads.
SETTINGS = [
    Setting((5, 6), (2, 3), 1, 0, (4, 4)),
    Setting((6, 5), (3, 2), 1, 0, (4, 4)),
    Setting((3, 4), (3, 4), 1, 0, (1, 1)),
    Setting((4, 5), (3, 2), 1, (1, 2), (4, 8)),
    Setting((6, 4), (2, 2), 2, 0, (3, 2)),
    Setting((3, 5), (1, 3), (1, 2), (0, 1), (3, 3)),
    Setting((5, 3), (3, 1), (2, 1), (1, 0), (3, 3)),
    Setting((2, 2), (1, 2), 1, (3, 2), (8, 5)),
    Setting((7, 6), (2, 3), (2, 1), 0, (3, 4)),
    Setting((6, 7), (2, 2), (1, 2), 0, (5, 3)),
    Setting((7, 8), (3, 2), (2, 3), (1, 2), (4, 4)),
    Setting((5, 7), (1, 1), (2, 3), 0, (3, 3)),
    Setting((6, 7), (2, 1), (4, 3), 0, (2, 3)),
]
STRIDE_1 = SETTINGS[:3]


def title(setting):
    """The setting as a test's id."""
    image, kernel = ("x".join(map(str, size)) for size in setting[:2])
    return f"{image}, kernel {kernel}, stride {setting.stride}, padding {setting.padding}"


def shown(setting):
    """The setting as a sentence's part."""
    image, kernel = ("x".join(map(str, size)) for size in setting[:2])
    return f"images {image}, kernels {kernel}, stride={setting.stride}, padding={setting.padding}"


def integers(rng, *shape, largest=4):
    """Integers between -largest and largest: sums of their products are exact."""
    return (randint(rng, 0, 2 * largest + 1, *shape) - largest).double()


def given(rng, setting, batch=2, inputs=3, outputs=4):
    """Images and kernels for a setting."""
    return integers(rng, batch, inputs, *setting.image), integers(rng, outputs, inputs, *setting.kernel)


def image(*rows):
    """One image, or one kernel, of one channel."""
    return torch.tensor(rows).double()[None, None]


def gradients(grad, x, weight, *args, **options):
    """The gradients by their names, after a look at how many there are and at their shapes."""
    got = conv2d_backward(grad, x, weight, *args, **options)
    kind = f"{len(got)} results" if isinstance(got, tuple) else f"a {type(got).__name__}"
    hint = "return grad_x, grad_weight, grad_bias"
    sentence = f"conv2d_backward should return 3 tensors, but gave {kind}"
    expect(isinstance(got, tuple) and len(got) == 3, sentence, hint=hint)
    for name, result, like in zip(NAMES, got, (x.shape, weight.shape, weight.shape[:1]), strict=True):
        shape = list(getattr(result, "shape", ["none: it is no tensor"]))
        what = f"the shape of {name} for x {list(x.shape)}, weight {list(weight.shape)} and grad {list(grad.shape)}"
        expect_equal(shape, list(like), what=what, hint=SHAPES[name])
    return dict(zip(NAMES, got, strict=True))


SHAPES = {
    "grad_x": "x without its padding, and with the pixels that no window reads",
    "grad_weight": "[outputs, inputs, kh, kw]: batch and positions are summed",
    "grad_bias": "a number for each output channel: batch and positions are summed",
}
