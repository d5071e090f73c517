"""Stage 2. Images, momentum None and other values, the state dict, one value a channel, wrong arguments."""

import copy

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.batch_norm import BatchNorm, batch_norm_backward

from .helpers import BUFFERS, buffers, column, eighths, layer_of, random_layer, shown

SHAPES = [(5, 3), (3, 3), (2, 1), (2, 3, 3), (4, 3, 3, 3), (1, 3, 2, 4), (2, 2, 3, 2, 2)]
EVERY = pytest.mark.parametrize("shape", SHAPES, ids=str)
DIMS = (
    "statistics run over all dimensions but dim 1; a number for each channel is viewed as [features, 1, 1] for images"
)


def vectors_of(x):
    """Every position of every image as a vector of its own."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


@EVERY
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_an_image_is_a_batch_of_its_positions(rng, shape, training):
    """Each position of each image counts as a vector. Where features == width, or == batch, a number for each channel
    also broadcasts along the wrong dimension."""
    x = randn(rng, *shape) + torch.arange(shape[-1])
    layer = random_layer(rng, shape[1]).train(training)
    twin = copy.deepcopy(layer)
    with expect_unchanged(x, layer.weight, layer.bias, what="x, weight or bias"):
        y = layer(x)
    expect_equal(list(y.shape), list(shape), what="the shape of layer(x)", hint="the shape of x")
    want = twin(vectors_of(x))
    mode = "training" if training else "evaluation"
    what = f"layer(x) for {shown(x)} in {mode} mode, against its positions as vectors"
    expect_close(vectors_of(y), want, what=what, hint=DIMS)
    hint = "n is the number of values in a channel: batch times all spatial dimensions"
    for name, got, wanted in zip(BUFFERS, buffers(layer), buffers(twin), strict=True):
        expect_close(got, wanted, what=f"{name} after {shown(x)}, against its positions as vectors", hint=hint)


def test_images_of_a_worked_example():
    """Two images of 1 x 2 and two channels. Channel 0 has 1, 3 and 5, 7: mean 4, variance 5, or 20 / 3 by n - 1 = 3; with
    eps = 4 the root is 3. Channel 1 has twice that: variance 20, eps 4."""
    x = torch.tensor([[[[1.0, 3]], [[2, 6]]], [[[5, 7]], [[10, 14]]]]).double()
    layer = layer_of(2, 4.0, momentum=1.0)
    y = layer(x)
    want = numbers(-1, -1 / 3, 1 / 3, 1)
    what = "of BatchNorm(2, eps=4) of two images of 1 x 2"
    expect_close(y[:, 0].flatten(), want, what=f"channel 0 {what}", hint=DIMS)
    expect_close(y[:, 1].flatten(), want * 6 / 24**0.5, what=f"channel 1 {what}", hint=DIMS)
    expect_close(layer.running_mean, numbers(4, 8), what=f"running_mean {what}", hint=DIMS)
    hint = "the variance of all 4 values of a channel, divided by 3"
    expect_close(layer.running_var, numbers(20 / 3, 80 / 3), what=f"running_var {what}", hint=hint)


def test_channels_do_not_see_each_other(rng):
    """Another channel's values change nothing, in either mode."""
    x, layer = randn(rng, 3, 3, 2, 3), random_layer(rng, 3)
    other = x.clone()
    other[:, 1] = 100 * other[:, 1] + 7
    for mode in (True, False):
        copies = [copy.deepcopy(layer).train(mode) for _ in range(2)]
        got, want = copies[0](other)[:, ::2], copies[1](x)[:, ::2]
        what = f"channels 0 and 2 with another channel 1, {'training' if mode else 'evaluation'}"
        expect_close(got, want, what=what, hint=DIMS)


def test_evaluation_takes_each_row_by_itself(rng):
    """One image, or many: the result is the same, so that a prediction does not depend on who else asks. An empty batch
    gives an empty result."""
    x, layer = randn(rng, 4, 3, 2, 2), random_layer(rng, 3).eval()
    want = torch.cat([layer(row[None]) for row in x])
    expect_close(
        layer(x), want, what="layer(x) in evaluation mode, against its images one by one", hint="no batch mean"
    )
    expect_equal(list(layer(x[:0]).shape), [0, 3, 2, 2], what="the shape of layer(x) for no images, evaluation")
    point = randn(rng, 1, 3)
    expect_close(layer(point), layer(point.repeat(2, 1))[:1], what="layer(x) for one vector, evaluation", hint=DIMS)


@pytest.mark.parametrize("shape", [(4, 3), (3, 3, 2, 4)], ids=str)
def test_other_memory_layouts(rng, shape):
    """Channels last, or a transposed batch: view() fails there, reshape and broadcasting do not."""
    x, layer = randn(rng, *shape), random_layer(rng, 3)
    turned = x.movedim(1, -1).contiguous().movedim(-1, 1)
    for training in (True, False):
        got, want = (copy.deepcopy(layer).train(training)(each) for each in (turned, x))
        expect_close(got, want, what=f"layer of {shown(x)} in another memory layout", hint="no view of x")


def test_without_momentum_the_plain_average(rng):
    """momentum=None: each batch counts once, whatever its size, and what was there before the first is forgotten."""
    batches = [randn(rng, size, 3) + 1 for size in (2, 6, 3)]
    layer = layer_of(3, momentum=None, running_mean=100.0, running_var=100.0)
    for count, batch in enumerate(batches, 1):
        layer.train()(batch)
        layer.eval()(batch)
        means, variances = (torch.stack([f(b) for b in batches[:count]]).mean(0) for f in (_mean, _var))
        hint = "the weight of the newest batch is 1 / num_batches_tracked, with this batch counted"
        what = f"after {count} batches with momentum=None"
        expect_close(layer.running_mean, means, what=f"running_mean {what}", hint=hint)
        expect_close(layer.running_var, variances, what=f"running_var {what}", hint=hint)


def _mean(batch):
    return batch.mean(0)


def _var(batch):
    return batch.var(0)


def test_momentum_0_keeps_the_running_statistics(rng):
    """0 is a number, and not None."""
    layer = random_layer(rng, 3, momentum=0.0)
    before = buffers(layer)
    layer(randn(rng, 4, 3))
    for name, got, want in zip(BUFFERS, buffers(layer), before, strict=True):
        expect_equal(got, want, what=f"{name} after a batch with momentum=0", hint="compare with `is None`")
    expect_equal(int(layer.num_batches_tracked), 1, what="num_batches_tracked with momentum=0", hint="it still counts")


def test_the_mode_decides_and_not_whether_gradients_are_enabled(rng):
    """Statistics are often measured anew in training mode under torch.no_grad(), without a step of the optimizer."""
    x, layer = randn(rng, 4, 3), random_layer(rng, 3)
    twin = copy.deepcopy(layer)
    want = twin(x)
    with torch.no_grad():
        expect_close(layer(x), want, what="layer(x) in training mode under no_grad()", hint="ask self.training")
    for name, got, wanted in zip(BUFFERS, buffers(layer), buffers(twin), strict=True):
        expect_close(got, wanted, what=f"{name} after a batch under no_grad()", hint="ask self.training")


def test_a_saved_layer_goes_on_where_it_was(rng):
    """Through the state dict into a new layer: the same evaluation, and the same average after one batch more."""
    layer = random_layer(rng, 3, momentum=None)
    for size in (4, 2):
        layer(randn(rng, size, 3))
    other = layer_of(3, momentum=None)
    other.load_state_dict({key: value.clone() for key, value in layer.state_dict().items()})
    x, hint = randn(rng, 5, 3), "weight, bias and all three buffers belong to the state dict"
    expect_close(other.eval()(x), layer.eval()(x), what="the loaded layer in evaluation mode", hint=hint)
    layer.train()(x)
    other.train()(x)
    expect_close(other.running_mean, layer.running_mean, what="running_mean of the loaded layer, a batch on", hint=hint)
    expect_equal(int(other.num_batches_tracked), 3, what="num_batches_tracked of the loaded layer", hint=hint)


def test_layers_share_nothing(rng):
    """Neither two new ones, nor a layer and its copy."""
    layer, other = layer_of(3), layer_of(3)
    layer(randn(rng, 4, 3) + 1)
    twin = copy.deepcopy(layer)
    after = buffers(layer)
    twin(randn(rng, 4, 3) - 5)
    hint = "make the buffers in __init__, for each layer anew"
    for name, got, want in zip(BUFFERS, buffers(layer), after, strict=True):
        expect_equal(got, want, what=f"{name} after a batch went through the layer's copy", hint=hint)
    expect_equal(other.running_mean, torch.zeros(3).double(), what="running_mean of another layer", hint=hint)


def test_without_eps_shift_and_scale_of_a_channel_do_not_matter(rng):
    """BatchNorm(a x + c) = BatchNorm(x) for a > 0. So a bias of the convolution before it has no effect."""
    x = randn(rng, 6, 3)
    got = layer_of(3, 0.0)(numbers(0.01, 3, 200) * x + numbers(-4, 0, 9))
    expect_close(got, layer_of(3, 0.0)(x), what="layer(a * x + c) with eps=0", hint="nothing is added but eps")


def test_the_default_eps():
    """1e-5: where the variance is as small as that, the result is 1 / sqrt(2)."""
    got = BatchNorm(1).double()(1e-5**0.5 * column(1, -1))
    expect_close(got, column(1, -1) / 2**0.5, what="a new layer of +-sqrt(1e-5)", hint="eps=1e-5")


def test_a_constant_channel_gives_the_bias(rng):
    """A channel that has died has variance 0: eps keeps 0 / 0 away."""
    x, layer = randn(rng, 4, 3, 2), random_layer(rng, 3)
    for constant in (0.0, 4.0):
        x[:, 1] = constant
        want = layer.bias[1].detach().expand(4, 2)
        what = f"channel 1 of the result, where it is {constant} in all of x"
        expect_close(layer(x)[:, 1], want, what=what, hint="eps is added to the variance")


def test_one_value_a_channel_has_no_variance():
    """n - 1 = 0. A small last batch is how that happens. It is refused before anything is counted or updated; in evaluation it
    is as good as any other. So is an empty batch refused."""
    for shape in ((1, 3), (1, 3, 1, 1), (0, 3), (0, 3, 2, 2)):
        layer = layer_of(3)
        hint = "training needs 2 values or more in a channel: batch times spatial size"
        with expect_raises(ValueError, what=f"training on {shown(torch.ones(shape))}", hint=hint):
            layer(torch.ones(shape).double())
        before = torch.cat([*buffers(layer), layer.num_batches_tracked[None]])
        want, hint = numbers(0, 0, 0, 1, 1, 1, 0), "check first, then count and update"
        expect_equal(before, want, what="the buffers after a batch that was refused", hint=hint)
    x = eighths(torch.Generator(), 2, 3)
    layer_of(3)(x)
    layer_of(3)(x[:1, :, None].expand(1, 3, 2))


def test_wrong_arguments_are_errors():
    """A wrong number of channels may broadcast, and nothing would seem wrong."""
    for options in ({"eps": -1e-5}, {"eps": float("nan")}, {"momentum": -0.1}, {"momentum": 1.1}):
        with expect_raises(ValueError, what=f"BatchNorm(3, {options})", hint="check eps and momentum"):
            BatchNorm(3, **options)
    with expect_raises(ValueError, what="BatchNorm(3, momentum=nan)", hint="no comparison with NaN is true"):
        BatchNorm(3, momentum=float("nan"))
    for size in (0, -1):
        with expect_raises(ValueError, what=f"BatchNorm({size})", hint="a channel at least"):
            BatchNorm(size)
    for features, shape in ((3, (4, 1)), (3, (4, 2)), (1, (4, 3)), (3, (3,)), (3, (2, 4, 4, 3)), (3, ())):
        for training in (True, False):
            what = f"BatchNorm({features}) of x of shape {list(shape)}, {'training' if training else 'evaluation'}"
            layer = BatchNorm(features).train(training)
            with expect_raises(ValueError, what=what, hint="x.shape[1] is the number of channels"):
                layer(torch.ones(shape))
            count, hint = int(layer.num_batches_tracked), "check first, then count and update"
            expect(count == 0, f"{what} should count no batch, but num_batches_tracked is {count}", hint=hint)


def test_wrong_arguments_of_the_backward_pass_are_errors():
    """The same checks, and grad has the shape of x."""
    x, weight = torch.arange(12.0).view(4, 3), torch.ones(3)
    wrong = {
        "eps=-1e-5": (x, x, weight, -1e-5),
        "eps=nan": (x, x, weight, float("nan")),
        "grad of one row": (x[:1], x, weight),
        "grad of another shape": (x[..., None], x, weight),
        "a weight of 1 number": (x, x, weight[:1]),
        "a weight of 2 numbers": (x, x, weight[:2]),
        "a weight of [4, 3]": (x, x, torch.ones(4, 3)),
        "a weight without dimensions": (x, x, torch.tensor(1.0)),
        "x of one dimension": (x[0], x[0], weight),
        "one value a channel": (x[:1], x[:1], weight),
        "no values": (x[:0], x[:0], weight),
    }
    for words, arguments in wrong.items():
        with expect_raises(ValueError, what=f"batch_norm_backward with {words}", hint="the same checks as in forward"):
            batch_norm_backward(*arguments)
