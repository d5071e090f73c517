"""Stage 1. Vectors, in training and in evaluation."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_own_work, numbers, randn
from dojo.testing.modules import expect_parameters
from katas import batch_norm as kata
from katas.batch_norm import BatchNorm

from .helpers import BUFFERS, EPS, buffers, column, layer_of, random_layer
from .probe import FORBIDDEN

STATE = {
    "weight": torch.ones(3),
    "bias": torch.zeros(3),
    "running_mean": torch.zeros(3),
    "running_var": torch.ones(3),
    "num_batches_tracked": torch.tensor(0),
}


def test_weight_and_bias_are_the_parameters():
    """The running statistics are measured, not trained: an optimizer, or its weight decay, must not move them."""
    hint = "nn.Parameter for weight and bias; register_buffer for the running statistics"
    expect_parameters(BatchNorm(3), {"weight": [3], "bias": [3]}, what="BatchNorm(3)", hint=hint)
    for name, parameter in BatchNorm(3).named_parameters():
        expect(parameter.requires_grad, f"{name} should require a gradient, but does not", hint=hint)


def test_the_buffers_and_where_everything_starts():
    """What is no buffer stays behind when the model is saved, or moved to a GPU."""
    layer = BatchNorm(3)
    own, hint = dict(layer.named_buffers()), 'self.register_buffer("running_mean", ...), persistent'
    expect_equal(sorted(own), ["num_batches_tracked", "running_mean", "running_var"], what="the buffers", hint=hint)
    state = layer.state_dict()
    expect_equal(sorted(state), sorted(STATE), what="the entries of the state dict", hint=hint)
    for name, start in STATE.items():
        what, hint = f"{name} of a new BatchNorm(3)", "weight and running_var start at 1, all others at 0"
        expect_equal(state[name], start, what=what, hint=hint)


def test_the_norm_is_your_own():
    """torch has it ready-made; the question is what happens inside."""
    BatchNorm(2)(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    expect_own_work(kata, FORBIDDEN)


def test_training_of_a_worked_example():
    """[3, -1, 7, 3]: mean 3, deviations 0, -4, 4, 0, their mean square 8, and with eps = 8 the root is 4. [2, 2, 4, 4]:
    mean 3, variance 1, root 3."""
    x = torch.stack([numbers(3, -1, 7, 3), numbers(2, 2, 4, 4)], 1)
    layer = layer_of(2, 8.0, weight=numbers(2, 3), bias=numbers(10, 20))
    want = torch.stack([numbers(10, 8, 12, 10), numbers(19, 19, 21, 21)], 1)
    hint = "(x - mean) / sqrt(var + eps) * weight + bias; mean and var of each column, var divided by n, not by n - 1"
    what = "BatchNorm(2, eps=8) with weight [2, 3] and bias [10, 20] of columns [3, -1, 7, 3] and [2, 2, 4, 4]"
    expect_close(layer(x), want, what=what, hint=hint)


@pytest.mark.parametrize("size", [0.25, 1.0, 3.0])
def test_eps_stands_inside_the_root(size):
    """[c, -c] has mean 0 and variance c^2: with eps = c^2 the result is 1 / sqrt(2), whatever c is. Added to the root,
    eps would give 1 / (1 + c)."""
    hint = "(x - mean) / sqrt(var + eps): eps is added to the variance before the root"
    got, what = layer_of(1, size**2)(column(size, -size)), f"the column [{size}, -{size}] with eps={size**2}"
    expect_close(got, column(1, -1) / 2**0.5, what=f"training on {what}", hint=hint)
    got = layer_of(1, size**2, running_var=size**2).eval()(column(size, -size))
    expect_close(got, column(1, -1) / 2**0.5, what=f"evaluating {what} and running_var={size**2}", hint=hint)


def test_mean_and_variance_of_the_result(rng):
    """Each channel has the mean `bias` and the biased variance weight^2 var / (var + eps)."""
    x, layer = 2 * randn(rng, 6, 4) + 1, random_layer(rng, 4)
    y, var = layer(x).detach(), x.var(0, correction=0)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    hint = "statistics over the batch, dim 0, one of each for a channel"
    expect_close(y.mean(0), bias, what="the mean of each channel of the result", hint=hint)
    want = weight**2 * var / (var + EPS)
    expect_close(y.var(0, correction=0), want, what="the variance of each channel of the result", hint=hint)


def test_training_does_not_read_the_running_statistics(rng):
    """They are for evaluation: in training mode the batch is normalised by its own."""
    x = randn(rng, 5, 3)
    far = layer_of(3, running_mean=numbers(5, 6, 7), running_var=numbers(8, 9, 10))
    hint = "in training mode mean and var come from x"
    expect_close(far(x), layer_of(3)(x), what="layer(x) in training mode with other running statistics", hint=hint)


def test_running_statistics_of_a_worked_example():
    """[1, 3, 5]: mean 3, variance 8 / 3 or, divided by n - 1 = 2, 4. With momentum 1/4 a quarter of the new value."""
    layer = layer_of(1, momentum=0.25, running_mean=1.0, running_var=2.0)
    layer(column(1, 3, 5))
    what = "of BatchNorm(1, momentum=0.25) after the column [1, 3, 5], before it"
    hint = "(1 - momentum) * old + momentum * new"
    expect_close(layer.running_mean, numbers(1.5), what=f"running_mean {what} 1", hint=hint)
    hint += ", where the new variance is divided by n - 1"
    expect_close(layer.running_var, numbers(2.5), what=f"running_var {what} 2", hint=hint)


def test_the_default_momentum(rng):
    """0.1: a tenth of the new value, and the rest of the old one."""
    x, layer = randn(rng, 5, 3) + 2, BatchNorm(3).double()
    layer(x)
    hint = "momentum=0.1 is the weight of the new value"
    for name, got, want in zip(BUFFERS, buffers(layer), (0.1 * x.mean(0), 0.9 + 0.1 * x.var(0)), strict=True):
        expect_close(got, want, what=f"{name} of a new layer after one batch", hint=hint)


def test_evaluation_of_a_worked_example():
    """(7 - 3) / sqrt(8 + 8) = 1 and (-1 - 3) / 4 = -1, whatever else is in the batch."""
    values = {"running_mean": 3.0, "running_var": 8.0, "weight": 2.0, "bias": 10.0}
    layer = layer_of(1, 8.0, **values).eval()
    hint = "in evaluation mode mean and var are the running ones: self.training says which mode it is"
    what = "BatchNorm(1, eps=8) in evaluation mode, running_mean 3, running_var 8, weight 2, bias 10, of"
    expect_close(layer(column(7, -1, 3)), column(12, 8, 10), what=f"{what} the column [7, -1, 3]", hint=hint)
    expect_close(layer(column(7)), column(12), what=f"{what} 7 alone", hint=hint)


def test_evaluation_leaves_the_buffers_alone(rng):
    """Validation must not change the model: not the statistics, and not the count."""
    layer = random_layer(rng, 3).eval()
    before = buffers(layer)
    layer(5 * randn(rng, 4, 3) + 3)
    hint = "update in training mode only"
    for name, got, want in zip(BUFFERS, buffers(layer), before, strict=True):
        expect_equal(got, want, what=f"{name} after a batch in evaluation mode", hint=hint)
    expect_equal(int(layer.num_batches_tracked), 0, what="num_batches_tracked after a batch in evaluation", hint=hint)


def test_the_count_of_batches(rng):
    """One more for each batch in training mode, however large it is."""
    layer, counts = layer_of(3), []
    for size, training in ((4, True), (5, True), (4, False), (2, True)):
        layer.train(training)(randn(rng, size, 3))
        counts.append(int(layer.num_batches_tracked))
    what = "num_batches_tracked after two batches in training, one in evaluation, and one in training"
    expect_equal(counts, [1, 2, 2, 3], what=what, hint="one more for each batch in training mode")


def test_with_momentum_1_evaluation_knows_the_batch(rng):
    """The running statistics are then those of the last batch, so evaluation on it differs from training by
    n / (n - 1) in the variance, and by nothing else. That is why the two disagree."""
    x, layer = 2 * randn(rng, 6, 4) + 1, layer_of(4, momentum=1.0)
    y, var = layer(x).detach(), x.var(0, correction=0)
    ratio = ((var + EPS) / (var * 6 / 5 + EPS)).sqrt()
    hint = "training divides the variance by n, the running variance by n - 1"
    expect_close(layer.eval()(x), y * ratio, what="layer.eval()(x) after layer(x) with momentum=1", hint=hint)


def test_five_batches(rng):
    """Each moves the statistics a little further: after batches b1 .. b5 the mean is the sum of 0.3 * 0.7^(5 - i) bi."""
    batches = [randn(rng, size, 3) + 1 for size in (2, 6, 4, 3, 5)]
    layer = layer_of(3, momentum=0.3)
    for batch in batches:
        layer(batch)
    shares = [0.3 * 0.7**i for i in (4, 3, 2, 1, 0)]
    means, variances = (sum(s * f(b) for s, b in zip(shares, batches, strict=True)) for f in (_mean, _var))
    hint = "every batch: (1 - momentum) * old + momentum * new"
    expect_close(layer.running_mean, means, what="running_mean after five batches, momentum=0.3", hint=hint)
    want = 0.7**5 + variances
    expect_close(layer.running_var, want, what="running_var after five batches, momentum=0.3", hint=hint)


def _mean(batch):
    return batch.mean(0)


def _var(batch):
    return batch.var(0)
