"""Stage 2. Several arguments and results, None, other objects, parameters only, uneven segments, wrong arguments."""

import gc
from itertools import pairwise

import pytest
import torch
from torch import nn

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, numbers, randint, randn
from katas.gradient_checkpointing import best_segments, checkpoint, checkpoint_sequential

from .helpers import AGAIN, Runs, expect_as_plain, expect_results, expect_sequential, go_back, leaf, stack, tensor

SLOTS = "backward returns one gradient for each argument of the Function, in their order, and None for what has none"
USED = "go backward from the results that want a gradient and have got one"


def test_each_argument_gets_its_own_gradient(rng):
    """Three arguments of three shapes, each with another part in the result."""

    def function(a, b, c):
        return a.sin() * b + c * c

    args = [leaf(randn(rng, *shape)) for shape in ((4, 3), (3,), (4, 1))]
    expect_as_plain(function, *args, what="a.sin() * b + c * c, a, b, c", hint=SLOTS)
    hint = f"{SLOTS}; an argument that wants no gradient stays so"
    expect_as_plain(function, args[0], args[1].detach(), args[2], what="the same, b without gradient", hint=hint)


def test_other_objects_stand_among_the_arguments(rng):
    """Numbers, words, None, lists and functions come to both runs as they are, in their places."""

    def function(scale, x, nothing, name, y, parts):
        return x.tanh() * scale * parts[1] + getattr(torch, name)(y) * (2 if nothing is None else 3)

    x, y = leaf(randn(rng, 3)), leaf(randn(rng, 3))
    hint = f"{SLOTS}; both runs get what is no tensor, too"
    expect_as_plain(function, 3, x, None, "exp", y, [1, 0.5], what="3, x, None, 'exp', y, [1, 0.5]", hint=hint)


def test_integers_and_masks_are_arguments(rng):
    """Token ids and an attention mask go through a block. Only floating-point tensors can ask for gradients."""
    table = leaf(randn(rng, 7, 3))

    def function(tokens, x, mask):
        return (table[tokens] * x).exp().masked_fill(mask, 0.0)

    args = randint(rng, 0, 7, 4), leaf(randn(rng, 4, 3)), randn(rng, 4, 3) > 0
    hint = "requires_grad_() raises for integers: copy the argument's own requires_grad"
    with called_for("an integer tensor and a boolean one among the arguments", hint=hint):
        expect_as_plain(function, *args, parameters=[table], what="tokens, x, mask", hint=hint)


def test_one_tensor_in_two_places(rng):
    """checkpoint(f, x, x) and a transposed x: its gradients from both places add up."""
    x = leaf(randn(rng, 3, 3))
    for second in (lambda x: x, lambda x: x.T):
        x.grad = None
        go_back(checkpoint(lambda a, b: a.sin() @ b.exp(), x, second(x)), "checkpoint(f, x, x)")
        got, x.grad = x.grad, None
        (x.sin() @ second(x).exp()).sum().backward()
        expect_close(got, x.grad, what="the gradient of x, twice an argument", hint=SLOTS)


def test_results_in_a_tuple(rng):
    """As a block returns hidden states, None for a cache and numbers beside them."""

    def function(x, y):
        return x * y, None, (x + y).exp(), "name", 7, (x > 0), x.argmax()

    hint = f"the tuple comes back as it is. {USED}"
    args = leaf(randn(rng, 3)), leaf(randn(rng, 3))
    with called_for("a function that returns (x * y, None, (x + y).exp(), 'name', 7, x > 0, x.argmax())", hint=hint):
        expect_as_plain(function, *args, what="several results", hint=hint)
    expect_as_plain(lambda x: (x * x,), args[0], what="a tuple of one", hint="a tuple of one stays a tuple of one")


def test_results_that_share_a_part(rng):
    """As two heads on one layer. What both have in common goes backward once, with the sum of their gradients."""

    def function(x):
        hidden = x.exp()
        return hidden * hidden, hidden.sin()

    hint = "one inner backward pass, from all results together: after it the graph of the second run is gone"
    with called_for("backward through (h * h, sin(h)) with h = exp(x)", hint=hint):
        expect_as_plain(function, leaf(randn(rng, 3)), what="(h * h, sin(h)) with h = exp(x)", hint=hint)


@pytest.mark.parametrize("used", [0, 1, 2])
def test_a_loss_that_uses_one_of_three_results(rng, used):
    """The others have no gradient."""

    def function(x, y):
        return x * x, x * y, x.exp() + y

    args = leaf(randn(rng, 3)), leaf(randn(rng, 3))
    what = f"three results, of which the loss uses number {used}"
    expect_as_plain(function, *args, what=what, hint=USED, loss=lambda results: (results[used] * 3).sum())


def test_a_result_that_is_not_used_passes_nothing_back():
    """sqrt has an infinite slope at 0. A gradient of zeros in place of none makes that 0 * inf = NaN."""

    def function(x):
        return 2 * x, x.sqrt()

    hint = "zeros are not nothing: leave unused results out (set_materialize_grads(False) tells them from used ones)"
    x = leaf(numbers(0, 4))
    expect_as_plain(function, x, what="(2 x, sqrt(x)) at 0", hint=hint, loss=lambda results: results[0].sum())


def test_a_result_without_gradient_beside_one_with(rng):
    """Statistics that the function detached, and an input that it hands on."""
    x, w = leaf(randn(rng, 3)), randn(rng, 3)
    with called_for("a function that returns (x.exp(), x.detach() * 2, w)", hint=USED):
        expect_as_plain(lambda x, w: (x.exp(), x.detach() * 2, w * 1), x, w, what="with detached results", hint=USED)


def test_parameters_learn_when_no_argument_wants_a_gradient(rng):
    """A model's first layer gets data. If nothing in apply's arguments wants a gradient, autograd records no node."""
    layer = nn.Linear(3, 2).double()
    hint = "give apply something that requires a gradient, so that backward is called"
    x = randn(rng, 4, 3)
    expect_as_plain(lambda x: layer(x).tanh(), x, parameters=[*layer.parameters()], what="layer, data", hint=hint)
    expect_as_plain(lambda: layer(x).tanh(), parameters=[*layer.parameters()], what="no arguments at all", hint=hint)


def test_a_frozen_function_is_no_obstacle(rng):
    """Nothing in it wants a gradient, but the loss has other parts."""
    w, x = leaf(numbers(2)), randn(rng, 3)
    y = tensor(checkpoint(torch.exp, x), "checkpoint(torch.exp, x)", x)
    hint = "if no result of the second run wants a gradient, there is nothing to do"
    with called_for("backward through a checkpoint in which nothing wants a gradient", hint=hint):
        (y.sum() * w).sum().backward()
    expect_close(w.grad, x.exp().sum()[None], what="the gradient of w beside a frozen checkpoint", hint=hint)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_is_a_plain_call(rng, mode):
    """Evaluation: the same result, no graph, one run."""
    w, x = leaf(randn(rng, 3)), leaf(randn(rng, 3))
    runs = Runs(lambda x: (x * w, None))
    with mode(), called_for(f"torch.{mode.__name__}()"):
        results = checkpoint(runs, x)
        expect_results(results, (x * w, None), f"checkpoint under {mode.__name__}")
    expect(not results[0].requires_grad, f"a result under {mode.__name__} should carry no graph, but does")
    expect_equal(runs.count, 1, what=f"the number of runs under {mode.__name__}")


def test_two_backward_passes(rng):
    """With retain_graph=True a graph can be used again, as a plain one can."""
    x, w = leaf(numbers(2)), leaf(numbers(3))
    y = tensor(checkpoint(lambda x: x * x * w, x), "checkpoint(x^2 w)", x)
    hint = "keep what the backward pass needs until the graph is gone"
    expect(y.requires_grad, "checkpoint(x^2 w) should be differentiable, but has no graph")
    with called_for("a second backward after backward(retain_graph=True)", hint=hint):
        y.backward(retain_graph=True)
        y.backward()
    expect_close(x.grad, numbers(24), what="x.grad after two backward passes of x^2 w at x=2, w=3", hint=hint)
    expect_close(w.grad, numbers(8), what="w.grad after two backward passes of x^2 w at x=2, w=3", hint=hint)


def test_a_checkpoint_keeps_to_its_own_call(rng):
    """Two calls before either's backward pass, of one function and of two."""
    x, y = leaf(randn(rng, 3)), leaf(randn(rng, 3))
    hint = "what a call keeps belongs to that call (ctx), not to the class or the module"

    def function(a, b):
        one, two = checkpoint(lambda x, s: x.sin() * s, a, 2), checkpoint(lambda x, s: x.exp() * s, b, 3)
        return tensor(one, "one of two checkpoints", a) * tensor(two, "one of two checkpoints", b)

    function(x, y).sum().backward()
    expect_close(x.grad, 6 * x.cos() * y.exp(), what="the gradient of x, where two checkpoints wait", hint=hint)
    expect_close(y.grad, 6 * x.sin() * y.exp(), what="the gradient of y, where two checkpoints wait", hint=hint)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 3)], ids=str)
def test_any_shape(rng, shape):
    """A scalar, an empty batch, three dimensions, and a transposed view."""
    x = leaf(randn(rng, *shape or (1,)).reshape(shape))
    expect_as_plain(lambda x: x.sin() * 3, x, what=f"x.sin() * 3, x {[*shape]}")
    expect_as_plain(lambda x: x.mT.sin() if x.dim() > 1 else x.sin(), x, what=f"x^T.sin(), x {[*shape]}", hint=AGAIN)


@pytest.mark.parametrize(("count", "segments"), [(5, 2), (5, 3), (5, 4), (7, 3), (11, 4), (1, 1), (3, 3)])
def test_uneven_segments_lose_no_layer(rng, count, segments):
    """At most `segments` runs of at most ceil(layers / segments) layers; each layer runs twice. What comes last in the
    forward pass comes first in the backward pass, so the order shows the runs."""
    layers, order = stack(count)
    go_back(checkpoint_sequential(layers, segments, leaf(randn(rng, 2, 3))), "checkpoint_sequential")
    what = f"{count} layers in {segments} segments"
    expect_equal(order[:count], [*range(count)], what=f"the layers that run forward, {what}", hint="the remainder, too")
    again = order[count:]
    expect_equal(sorted(again), [*range(count)], what=f"the layers that run backward (sorted), {what}")
    starts = [0] + [i for i in range(1, count) if again[i] < again[i - 1]] + [count]
    lengths = [end - start for start, end in pairwise(starts)][::-1]
    sentence = f"{what} should make at most {segments} runs, but made {len(lengths)}, of {lengths} layers"
    expect(len(lengths) <= segments, sentence, hint="round the layers in a run up")
    longest = -(-count // segments)
    sentence = f"{what} should make runs of at most {longest} layers, but made runs of {lengths}"
    expect(max(lengths) <= longest, sentence, hint="the peak is the longest run: spread the remainder")
    expect_sequential(layers, segments, leaf(randn(rng, 2, 3)))


def test_layers_in_any_sequence_and_data_without_gradient(rng):
    """A list, a tuple, a ModuleList, a Sequential; x is data, so that only parameters want gradients."""
    layers, _ = stack(3)
    for kind in (list, tuple, nn.ModuleList, lambda layers: nn.Sequential(*layers)):
        expect_sequential(kind(layers), 2, randn(rng, 2, 3), hint="the first segment's parameters learn, too")


def test_nothing_outlives_its_graph(rng):
    """Inputs that a registry or a global list keeps are a leak: memory grows with every step."""
    x = leaf(randn(rng, 3))
    inner = []
    function = Runs(
        torch.sin, lambda x: inner.append(torch.multiprocessing.reductions.StorageWeakRef(x.untyped_storage()))
    )
    y = checkpoint(function, x * 2)
    go_back(y, "checkpoint(torch.sin, 2 x)")
    del y
    gc.collect(1)  # the youngest objects, in case that they refer to each other
    expect(all(storage.expired() for storage in inner), "2 x should be gone with its graph, but is kept", hint="ctx")


def test_numbers_of_segments_out_of_range_are_errors(rng):
    """segments outside [1, layers], before any layer runs; best_segments of no layers."""
    layers, order = stack(3)
    for segments in (0, -1, 4):
        with expect_raises(ValueError, what=f"checkpoint_sequential of 3 layers in {segments} segments"):
            checkpoint_sequential(layers, segments, randn(rng, 2, 3))
    expect_equal(order, [], what="the layers that ran before the ValueError", hint="check first")
    for count in (0, -2):
        with expect_raises(ValueError, what=f"best_segments({count})"):
            best_segments(count)
