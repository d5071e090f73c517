"""Stage 3. Dtypes and precision."""

import pytest
import torch

from dojo.testing import FLOATS, expect_close, expect_equal, randint, randn
from katas.data_pipeline import ImageDataset, channel_stats, make_loaders, random_flip

from .helpers import everything, normalised


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8], ids=str)
def test_images_keep_their_dtype_and_integers_become_float32(rng, dtype):
    """float64 statistics promote every image to float64, twice the memory, and the model's weights do not fit. Stored
    bytes become float32. Half precision is only checked roughly: there the order of roundings matters."""
    pixels = randint(rng, 0, 256, 40, 3, 4, 4)
    pixels[:20] //= 3
    images = pixels.to(dtype) if dtype in (torch.uint8, torch.float64) else (pixels / 255).to(dtype)
    train, *_ = make_loaders(ImageDataset(images, torch.arange(40)), (0.8, 0.1, 0.1), 8, generator=rng)
    got, which = everything(train)
    wanted = normalised(images[which].double(), images[which].double())
    rough = {torch.float16: 0.02, torch.bfloat16: 0.1}.get(dtype, 1e-5)
    wanted = wanted.to(torch.float32 if dtype == torch.uint8 else dtype)
    expect_close(got, wanted, what=f"normalised {dtype} images", hint="cast last", rtol=rough, atol=rough)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8], ids=str)
def test_statistics_are_summed_in_float64(rng, dtype):
    """Half-precision sums overflow at 65504, bytes wrap around at 256, and in float32 the mean of the squares minus the
    square of the mean loses all its digits where the mean is large."""
    pixels = randint(rng, 0, 8, 30, 2, 20, 20) + 120
    mean, std = channel_stats(ImageDataset(pixels.to(dtype), torch.arange(30)))
    hint = "convert to float64 first; results in float64"
    expect_close(mean, pixels.double().mean((0, 2, 3)), what=f"the mean of {dtype}", hint=hint)
    expect_close(std, pixels.double().std((0, 2, 3), correction=0), what=f"the deviation of {dtype}", hint=hint)


def test_a_small_spread_far_from_zero_is_measured(rng):
    """1000 +- 0.1 in float32: sums of float32 squares near 1e6 cannot resolve a variance of 0.01."""
    images = (1000 + 0.1 * randn(rng, 20, 1, 8, 8)).float()
    _, std = channel_stats(ImageDataset(images, torch.arange(20)))
    wanted = images.double().std(correction=0)[None]
    expect_close(std, wanted, what="the deviation", hint="convert to float64 before you square", rtol=1e-5, atol=1e-7)


def test_a_constant_channel_has_deviation_0():
    """E[x^2] - E[x]^2 is 0 give or take a rounding error; half of the time it is below 0, and its root is NaN."""
    image = (torch.arange(40, dtype=torch.float64) / 7)[:, None, None].expand(-1, 3, 5)
    mean, std = channel_stats([(image, 0)] * 3)
    hint = "clamp the variance at 0 before the root"
    expect_close(mean, image[:, 0, 0], what="the mean of constant channels", hint=hint)
    expect_close(std, torch.zeros(40).double(), what="the deviation of constant channels", hint=hint, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8], ids=str)
def test_flips_take_any_dtype_and_layout(rng, dtype):
    """Channels-last images are not contiguous."""
    image = randint(rng, 0, 200, 4, 5, 3).to(dtype).permute(2, 0, 1)
    expect_equal(random_flip(image, 1.0, generator=rng), image.flip(-1), what=f"a flipped {dtype} image")
