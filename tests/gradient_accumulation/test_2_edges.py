"""Stage 2. Every partition, generators, no items, missing and old gradients, groups, modes, wrong arguments."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, numbers, randn
from katas.gradient_accumulation import accumulated_step, clip_grad_norm

from .helpers import (
    DIVIDE,
    INF,
    NAN,
    clipped,
    counted,
    expect_clipped,
    expect_number,
    expect_result,
    expect_same_state,
    expect_weights,
    micro,
    state_of,
    step_of,
    stepped,
    trained,
    weights_of,
    with_grads,
)

ADAM = {"make": AdamW, "lr": 0.125, "weight_decay": 0.25}
MOMENTUM = {"make": SGD, "lr": 0.5, "momentum": 0.5, "weight_decay": 0.25}
LOOSE = {"rtol": 2e-6, "atol": 1e-9}


def squares(outputs, y):
    """A loss whose gradients depend on the weights. y = 0 is padding."""
    return ((outputs.squeeze(1) - y).square() * (y != 0)).sum(), int((y != 0).sum())


def network(weights, make, **options):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    nn.utils.vector_to_parameters(weights.clone(), model.parameters())
    return model, make(model.parameters(), **options)


@pytest.mark.parametrize("most", [None, 0.5], ids=["whole", "clipped"])
@pytest.mark.parametrize("kind", [ADAM, MOMENTUM], ids=["AdamW", "momentum"])
def test_every_partition_is_the_same_step(rng, kind, most):
    """A network and nine rows, three of them padding: in unequal parts and backwards, over two steps."""
    x, y, weights = randn(rng, 9, 4), randn(rng, 9), randn(rng, 31)
    y[torch.randperm(9, generator=rng)[:3]] = 0
    parts = {"all at once": [9], "1, 2 and 6 rows": [1, 2, 6], "5, 0, 3 and 1 rows": [5, 0, 3, 1]}
    want = None
    for name, sizes in [*parts.items(), ("6, 2 and 1 rows, from the end", [1, 2, 6])]:
        model, optimizer = network(weights, **kind)
        batches = list(zip(x.split(sizes), y.split(sizes), strict=True))
        batches = batches[::-1] if "end" in name else batches
        results = [accumulated_step(model, batches, squares, optimizer, max_norm=most) for _ in range(2)]
        got = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        want = want if want is not None else (got, results)
        what = f"in two steps of nine rows as {name}, against all at once"
        expect_close(got, want[0], what=f"the weights {what}", hint=DIVIDE, rtol=1e-9, atol=1e-11)
        for result, right in zip(results, want[1], strict=True):
            expect_result(result, *right, what=what)


def test_a_generator_of_micro_batches():
    """It can be read once, and its length is unknown."""
    run, batches = trained(numbers(0)), [micro([[1], [2]]), micro([[6]])]
    with called_for("a generator of micro-batches"):
        result = step_of(run, (batch for batch in batches))
    hint = "one loop over micro_batches; a second one, or len(), finds nothing"
    expect_weights(run, [-3], what="after a generator of the gradients 1 + 2 and 6", hint=hint)
    expect_result(result, 0.0, 3, 3.0, what="of a generator", hint=hint)


def test_a_generator_of_parameters():
    """model.parameters() is one."""
    parameters = with_grads(numbers(3, 0), numbers(4))
    norm = clip_grad_norm((parameter for parameter in parameters), 2.5)
    hint = "keep the gradients in a list: after the norm, the generator is at its end"
    expect_close(norm, numbers(5)[0], what="the norm, of a generator of parameters", hint=hint)
    grads = [parameter.grad for parameter in parameters]
    what = "of a generator of parameters, clipped to 2.5,"
    expect_clipped(grads, [numbers(1.5, 0), numbers(2)], what=what, hint=hint, **LOOSE)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("rows", [0, 2], ids=["no rows", "only padding"])
def test_a_micro_batch_without_items(rows, place):
    """It adds nothing to either sum, wherever it comes, and its own mean would be 0 / 0."""
    empty = torch.full((rows, 1), 9.0).double(), torch.zeros(rows, dtype=torch.long)
    batches = [micro([[1], [2]]), micro([[6]])]
    batches.insert(place, empty)
    run = trained(numbers(2))
    with called_for(f"a micro-batch of {rows} rows and no items at {place}"):
        result = stepped(run, *batches, max_norm=100.0)
    hint = "divide by the number of all items, once; no mean of a single micro-batch is needed"
    what = f"with a micro-batch of {rows} rows and no items at {place}"
    expect_weights(run, [-1], what=f"after the mean gradient 3, {what}", hint=hint)
    expect_result(result, 6.0, 3, 3.0, what=what, hint=hint)


@pytest.mark.parametrize("kind", [ADAM, MOMENTUM], ids=["AdamW", "momentum"])
@pytest.mark.parametrize("batches", [[], [([[9, 9]], [0])], [([[9, 9]] * 2, [0, 0])] * 2], ids=["none", "one", "two"])
def test_nothing_counted_is_no_step(kind, batches):
    """With gradients of zero, momentum and weight decay would move the weights all the same."""
    run = trained(numbers(1, 2), **kind)
    stepped(run, micro([[1, 3]]))
    before = state_of(run)
    what = f"after {len(batches)} micro-batches without items"
    with called_for(f"{len(batches)} micro-batches without items"):
        result = stepped(run, *(micro(*batch) for batch in batches), max_norm=1.0)
    hint = "return before optimizer.step() if no items are counted"
    expect_same_state(run, before, what, hint=hint)
    expect_equal(tuple(result), (0.0, 0, 0.0), what=f"the result {what}", hint="0 / 0 is NaN or an error")
    stepped(run, micro([[1, 3]]))
    other = trained(numbers(1, 2), **kind)
    for _ in range(2):
        stepped(other, micro([[1, 3]]))
    what = "after a step, one without items, and a step, against the two steps alone"
    expect_weights(run, *other.model.weights, what=what, hint=hint)


def test_a_parameter_that_no_micro_batch_uses():
    """Rows of two elements leave the second parameter out: it has no gradient, and its .grad is None."""
    run = trained(numbers(1, 2), numbers(5))
    with called_for("a parameter that no micro-batch uses"):
        result = stepped(run, micro([[3, 0], [3, 0]]), micro([[0, 8]] * 2), max_norm=2.5)
    hint = "leave out parameters whose .grad is None"
    what = "after the mean gradient [1.5, 4] clipped to 2.5, where the second parameter has none"
    factor = 2.5 / 18.25**0.5
    expect_weights(run, [1 - 1.5 * factor, 2 - 4 * factor], [5], what=what, hint=hint, **LOOSE)
    expect_number(result.grad_norm, 18.25**0.5, "grad_norm", hint=hint)


def test_a_parameter_that_one_micro_batch_uses():
    """Its gradient is divided by the number of all items, too."""
    run = trained(numbers(0, 0), numbers(0))
    with called_for("a parameter that only the second micro-batch uses"):
        result = stepped(run, micro([[3, 0]] * 3), micro([[0, 4, 12]]))
    expect_weights(run, [-9 / 4, -1], [-3], what="after 3 items without parameter 1 and one with it", hint=DIVIDE)
    expect_result(result, 0.0, 4, (81 / 16 + 1 + 9) ** 0.5, what="of both parameters")


@pytest.mark.parametrize("held", [True, False], ids=["in the optimizer", "not in the optimizer"])
def test_a_frozen_parameter(held):
    run = trained(numbers(1, 2), numbers(5))
    run.model.weights[1].requires_grad_(False)
    run.optimizer = SGD(list(run.model.weights)[: 1 + held], lr=1.0)
    with called_for("a frozen parameter"):
        result = stepped(run, micro([[3, 0, 7]]), micro([[0, 4, 7]] * 2), max_norm=100.0)
    hint = "leave out parameters whose .grad is None"
    expect_weights(run, [0, 2 - 8 / 3], [5], what="of which 1 is frozen, after a step", hint=hint)
    expect_number(result.grad_norm, 73**0.5 / 3, "grad_norm", hint=hint)


def test_parameters_in_groups_are_clipped_together():
    """Two groups with their own learning rates, and the norm of both."""
    run = trained(numbers(0, 0), numbers(0))
    groups = [{"params": [run.model.weights[0]]}, {"params": [run.model.weights[1]], "lr": 0.5}]
    run.optimizer = SGD(groups, lr=1.0)
    result = stepped(run, micro([[6, 0, 8]]), micro([[0, 0, 0]]), max_norm=2.5)
    hint = "every parameter of every group: all gradients, one norm, one factor"
    expect_number(result.grad_norm, 5.0, "grad_norm of two groups with the gradients [3, 0] and [4]", hint=hint)
    expect_weights(run, [-1.5, 0], [-1], what="of two groups after a step clipped to 2.5", hint=hint, **LOOSE)
    result = stepped(run, micro([[6, 0, 8]]), micro([[0, 0, 0]]))
    expect_weights(run, [-4.5, 0], [-3], what="of two groups after a step that is not clipped", hint=hint, **LOOSE)


def test_gradients_of_none_are_left_out():
    norm, grads = clipped(None, numbers(3, 0), None, numbers(4), max_norm=2.5)
    hint = "skip parameters whose .grad is None, and leave it so"
    want = [None, numbers(1.5, 0), None, numbers(2)]
    expect_clipped(grads, want, what="of None, [3, 0], None, [4] clipped to 2.5", hint=hint, **LOOSE)
    expect_close(norm, numbers(5)[0], what="the norm of None, [3, 0], None, [4]", hint=hint)


@pytest.mark.parametrize("given", [[], [None]], ids=["no parameter", "no gradient"])
def test_no_gradient_has_the_norm_0(given):
    with called_for("parameters without gradients"):
        norm, _ = clipped(*given, max_norm=1.0)
    expect_close(norm, torch.tensor(0.0), what="the norm of no gradients", hint="torch.stack([]) is an error")


def test_gradients_of_zero():
    """Their norm is 0, by which nothing may be divided."""
    norm, grads = clipped(numbers(0, 0), numbers(0), max_norm=1.0)
    hint = "0 * (max_norm / 0) is NaN: never scale up"
    expect_clipped(grads, [numbers(0, 0), numbers(0)], what="of zeros, clipped to 1,", hint=hint)
    expect_close(norm, numbers(0)[0], what="the norm of zeros", hint=hint)
    run = trained(numbers(1, 2))
    result = stepped(run, micro([[0, 0]]), max_norm=1.0)
    expect_weights(run, [1, 2], what="after a step with gradients of zero", hint=hint)
    expect_result(result, 0.0, 1, 0.0, what="of gradients of zero", hint=hint)


def test_shapes_of_gradients(rng):
    """A matrix, a transposed one, a tensor of no dimension and an empty one."""
    grads = [randn(rng, 3, 2), randn(rng, 4, 5).t(), randn(rng, 1)[0], randn(rng, 0, 3)]
    want = torch.cat([grad.flatten() for grad in grads]).norm()
    with called_for("gradients of the shapes [3, 2], [5, 4] transposed, [], [0, 3]"):
        norm, got = clipped(*grads, max_norm=0.5 * float(want))
    hint = "no view(-1), and no cat along a dimension"
    expect_close(norm, want, what="the norm of gradients of many shapes", hint=hint)
    what = "of many shapes, clipped to half their norm"
    expect_clipped(got, [grad / 2 for grad in grads], what=what, hint=hint, **LOOSE)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_the_model_stays_in_its_mode(mode):
    """Whoever calls has set it: dropout and BatchNorm depend on it, and fine-tuning may want eval."""
    modes, run = [], trained(numbers(0))
    run.model.train(mode)
    run.model.register_forward_hook(lambda model, *_: modes.append(model.training))
    stepped(run, micro([[1]]), micro([[3]]))
    modes.append(run.model.training)
    what = f"model.training in two calls and afterwards, where it was {mode},"
    expect_equal(modes, [mode] * 3, what=what, hint="neither train() nor eval()")


def test_micro_batches_are_not_modified():
    run, batches = trained(numbers(1, 2)), [micro([[1, 2]]), micro([[3, 4], [5, 6]], [1, 0])]
    before = [(x.clone(), y.clone()) for x, y in batches]
    step_of(run, batches, max_norm=1.0)
    expect_equal(len(batches), 2, what="the length of the list of micro-batches after a step", hint="no pop()")
    for (x, y), (old_x, old_y) in zip(batches, before, strict=True):
        expect_equal(x, old_x, what="x of a micro-batch after a step", hint="scale gradients, not inputs")
        expect_equal(y, old_y, what="y of a micro-batch after a step", hint="leave it alone")


@pytest.mark.parametrize("most", [0.0, -1.0, NAN, -INF])
def test_wrong_limits(most):
    """Checked before anything changes."""
    hint = "max_norm > 0, or None for accumulated_step"
    parameters = with_grads(numbers(3, 0))
    with expect_raises(ValueError, what=f"clip_grad_norm with max_norm={most}", hint=hint):
        clip_grad_norm(parameters, most)
    what = f"after clip_grad_norm with max_norm={most}"
    expect_equal(parameters[0].grad, numbers(3, 0), what=f"a gradient {what}", hint="check first")
    with expect_raises(ValueError, what=f"clip_grad_norm of no parameters with max_norm={most}", hint=hint):
        clip_grad_norm([], most)
    run, taken = trained(numbers(1, 2), **MOMENTUM), []
    stepped(run, micro([[1, 3]]))
    counted(run.model(micro([[7, 7]])[0]), torch.tensor([1]))[0].backward()
    before, grad, weight = state_of(run), run.model.weights[0].grad.clone(), weights_of(run)[0]
    what = f"accumulated_step with max_norm={most}"
    with expect_raises(ValueError, what=what, hint=hint):
        step_of(run, (taken.append(1) or batch for batch in [micro([[1, 3]])]), max_norm=most)
    expect_same_state(run, before, f"after {what}", hint="check first")
    expect(not taken, f"{what} should take no micro-batch, but took one", hint="check first")
    expect_equal(run.model.weights[0].grad, grad, what=f"the gradient of parameter 0, {weight}, after {what}")
    with expect_raises(ValueError, what=f"{what} and no micro-batch", hint=hint):
        stepped(run, max_norm=most)
