"""Stage 2. Parameters and groups, missing gradients, the closure, saving and loading, schedulers, wrong arguments."""

import pytest
import torch
from torch import nn

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, numbers, randn
from katas.adamw import AdamW

from .helpers import BOTH, PLAIN, advance, copied, random_weight, saved, walk, weight
from .probe import WRONG_OPTIONS

OWN = "each parameter has a state of its own: self.state[param]"


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 1, 3), (0,)], ids=str)
def test_parameters_of_any_shape(rng, shape):
    """A scale is a number, a bias a row, a kernel has four dimensions. Against the same numbers in one row."""
    start, *grads = randn(rng, 4, *shape)
    want = walk(nn.Parameter(start.flatten().clone()), [grad.flatten() for grad in grads], **BOTH).reshape(4, *shape)
    with called_for(f"a parameter of shape {list(shape)}"):
        got = walk(nn.Parameter(start.clone()), grads, **BOTH)
    expect_close(got, want, what=f"a parameter of shape {list(shape)} over 3 steps, against one row")


def test_several_parameters_are_independent(rng):
    """Three parameters of one shape in one optimizer, against each in an optimizer of its own."""
    starts, grads = randn(rng, 3, 2), randn(rng, 4, 3, 2)
    want = [walk(nn.Parameter(starts[i].clone()), grads[:, i], **BOTH)[-1] for i in range(3)]
    params = [nn.Parameter(start.clone()) for start in starts]
    optimizer = AdamW(iter(params), **BOTH)
    for row in grads:
        advance(optimizer, *zip(params, row, strict=True))
    for i in range(3):
        expect_close(params[i].detach(), want[i], what=f"parameter {i} of 3 after 4 steps, against alone", hint=OWN)


def test_a_parameter_without_gradient_is_left_alone(rng):
    """It was not used in this step, or is frozen. Neither the decay nor its momentum moves it."""
    used, idle = weight(4), weight(8, -8)
    optimizer = AdamW([idle, used], **BOTH)
    hint = "if param.grad is None: continue, before the decay"
    with called_for("a parameter without gradient", hint=hint):
        advance(optimizer, (used, numbers(1)), (idle, None))
    expect_equal(idle.detach(), numbers(8, -8), what="a parameter that never had a gradient, after a step", hint=hint)
    expect(used.item() != 4, "the parameter after it has a gradient, and should move, but does not", hint="continue")
    advance(optimizer, (used, numbers(1)), (idle, numbers(1, 2)))
    before = idle.detach().clone()
    advance(optimizer, (used, numbers(1)), (idle, None))
    expect_equal(idle.detach(), before, what="a parameter without gradient in the third step", hint=hint)


@pytest.mark.parametrize("late", [[0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 1]], ids=str)
def test_a_step_counts_only_with_a_gradient(rng, late):
    """A parameter that has a gradient in some steps only, beside one that always has one: it walks as if the other steps
    had not been. Steps that were counted would make its correction too small, and other moments too."""
    grads, start = randn(rng, 4, 2), randn(rng, 2)
    want = walk(nn.Parameter(start.clone()), [g for g, has in zip(grads, late, strict=True) if has], **BOTH)[-1]
    param, always = nn.Parameter(start.clone()), weight(1, 2)
    optimizer = AdamW([always, param], **BOTH)
    for grad, has in zip(grads, late, strict=True):
        advance(optimizer, (always, numbers(1, 1)), (param, grad if has else None))
    hint = "t belongs to the parameter, and counts its gradients; no gradient, no step, and no change of its moments"
    expect_close(param.detach(), want, what=f"a parameter with gradients in the steps {late} (1 has one)", hint=hint)


GROUPS = [("lr", 0.5), ("betas", (0.5, 0.25)), ("eps", 2.0), ("weight_decay", 0.0)]


@pytest.mark.parametrize(("name", "value"), GROUPS, ids=lambda value: str(value))
def test_each_group_has_its_own_options(rng, name, value):
    """Norms and biases without decay, a head with a higher learning rate. Against an optimizer of its own."""
    starts, grads = randn(rng, 2, 3), randn(rng, 3, 2, 3)
    want = [
        walk(nn.Parameter(starts[i].clone()), grads[:, i], **BOTH | own)[-1]
        for i, own in enumerate(({}, {name: value}))
    ]
    params = [nn.Parameter(start.clone()) for start in starts]
    optimizer = AdamW([{"params": [params[0]]}, {"params": [params[1]], name: value}], **BOTH)
    for row in grads:
        advance(optimizer, *zip(params, row, strict=True))
    hint = "read every option from the group of the parameter, and the state by the parameter, not by its place"
    for i, said in enumerate(("the group without options of its own", f"the group with {name}={value}")):
        expect_close(params[i].detach(), want[i], what=f"the parameter of {said}, after 3 steps", hint=hint)


def test_a_group_can_be_added_later(rng):
    """A backbone that is unfrozen after some epochs. Its first step is a first step."""
    first, second, grads = random_weight(rng, 2), random_weight(rng, 2), randn(rng, 4, 2)
    want = walk(nn.Parameter(second.detach().clone()), grads[2:], **BOTH | {"lr": 0.5})[-1]
    optimizer = AdamW([first], **BOTH)
    for grad in grads[:2]:
        advance(optimizer, (first, grad))
    optimizer.add_param_group({"params": [second], "lr": 0.5})
    hint = "make the state of a parameter when you first meet its gradient"
    with called_for("a group that was added after two steps", hint=hint):
        for grad in grads[2:]:
            advance(optimizer, (first, grad), (second, grad))
    expect_close(second.detach(), want, what="a parameter that was added after two steps", hint=hint)


@pytest.mark.parametrize(("name", "value"), [case for case in GROUPS if case[0] != "betas"])
def test_options_that_change_count_from_the_next_step(name, value):
    """Whoever schedules something writes into the group. A constant gradient of 1: each step is
    -lr (weight_decay w + 1 / (1 + eps)) with the options of that step."""
    param = weight(8)
    optimizer = AdamW([param], **BOTH)
    advance(optimizer, (param, numbers(1)))
    before = param.item()
    optimizer.param_groups[0][name] = value
    now = BOTH | {name: value}
    advance(optimizer, (param, numbers(1)))
    want = before - now["lr"] * (now["weight_decay"] * before + 1 / (1 + now["eps"]))
    hint = "read the options from the group in every step, and keep none of them elsewhere"
    expect_close(param.detach(), numbers(want), what=f"the second step, after {name} was set to {value}", hint=hint)


def test_it_works_under_a_scheduler():
    """lr is halved before the second step: with a constant gradient steps of 0.125, 0.0625, 0.03125."""
    param = weight(4)
    optimizer = AdamW([param], **PLAIN)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    values = []
    for _ in range(3):
        advance(optimizer, (param, numbers(1)))
        scheduler.step()
        values.append(param.item())
    want = numbers(3.875, 3.8125, 3.78125)
    expect_close(numbers(*values), want, what="the weight 4 under LambdaLR that halves lr", hint="lr is group['lr']")


def closure_of(param, calls):
    """A loss of 3 times the weight, whose gradient it computes."""

    def closure():
        calls.append(param.item())
        param.grad = None
        loss = 3 * param.sum()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("enabled", [True, False], ids=["gradients enabled", "under no_grad"])
def test_the_closure_is_called_once_with_gradients(enabled):
    """It computes the loss of the weight as it is, and the gradient for this very step."""
    param, calls = weight(4), []
    optimizer = AdamW([param], **PLAIN)
    hint = "with torch.enable_grad(): loss = closure(), before the update and outside its torch.no_grad()"
    with torch.set_grad_enabled(enabled), called_for("step(closure)", hint=hint):
        loss = optimizer.step(closure_of(param, calls))
    expect_equal(calls, [4.0], what="the weights that the closure was called with", hint=hint)
    expect_close(param.detach(), numbers(3.875), what="the weight 4 after step(closure) with lr=0.125", hint=hint)
    expect(isinstance(loss, torch.Tensor), f"step(closure) should return the loss, but returned {loss!r}")
    expect_equal(loss.detach(), numbers(12)[0], what="what step(closure) returns", hint="return loss")


def test_what_a_step_returns(rng):
    """None without a closure, and with one whatever it returns."""
    param = weight(4)
    optimizer = AdamW([param], **PLAIN)
    expect_equal(advance(optimizer, (param, numbers(1))), None, what="what step() returns without closure")
    expect_equal(optimizer.step(lambda: 0.5), 0.5, what="what step(closure) returns of a closure that returns 0.5")


def test_two_optimizers_share_nothing(rng):
    """A second optimizer over the same weight, as in a second stage of training, begins anew."""
    grads, param = randn(rng, 4, 3), random_weight(rng, 3)
    walk(param, grads[:2], **BOTH)
    want = walk(nn.Parameter(param.detach().clone()), grads[2:], **BOTH)[-1]
    got = walk(param, grads[2:], **BOTH)[-1]
    expect_close(got, want, what="a weight under a second optimizer, after the first", hint="no state in the class")


def test_gradients_are_not_modified(rng):
    """Somebody may log their norm after the step, or take a second step with them."""
    param = random_weight(rng, 3)
    optimizer = AdamW([param], **BOTH)
    for step in (1, 2):
        param.grad = grad = randn(rng, 3)
        before = grad.clone()
        optimizer.step()
        expect_equal(
            grad, before, what=f"the gradient after step {step}", hint="work on a copy of it, or in the moments"
        )
        expect(param.grad is grad, "param.grad should be the same tensor after a step, but is another one or None")


@pytest.mark.parametrize("where", ["the weight", "the gradient", "both"])
def test_other_memory_layouts_give_the_same(rng, where):
    """Tied and transposed weights, gradients that a backward pass has expanded."""
    start, grads = randn(rng, 2, 3), randn(rng, 3, 2, 3)
    want = walk(nn.Parameter(start.clone()), grads, **BOTH)[-1]
    param = nn.Parameter(start.clone() if where == "the gradient" else start.T.contiguous().T)
    optimizer = AdamW([param], **BOTH)
    for grad in grads:
        param.grad = grad.clone() if where == "the weight" else grad.T.contiguous().T
        optimizer.step()
    expect_close(param.detach(), want, what=f"3 steps where {where} is not contiguous", hint="no .view(-1)")


def interrupted(rng, way, dtype=torch.float64, **options):
    """A weight after six steps, and one whose optimizer was exchanged after the third for one that loaded its state."""
    start, grads = 4 * randn(rng, 3).to(dtype), randn(rng, 6, 3).to(dtype)
    whole = walk(nn.Parameter(start.clone()), grads, **options)[-1]
    param = nn.Parameter(start.clone())
    optimizer = AdamW([param], **options)
    walk(param, grads[:3], optimizer)
    state = way(optimizer)
    resumed = AdamW([param])
    resumed.load_state_dict(state)
    return walk(param, grads[3:], resumed)[-1], whole


def test_saving_and_loading_changes_nothing(rng):
    """The moments, the count and the options come back: six steps, against three, a copy of the state, and three."""
    got, want = interrupted(rng, copied, **BOTH)
    hint = "all that a step remembers belongs into self.state[param]; load_state_dict also brings the options back"
    expect_equal(got, want, what="a weight after six steps, with the state saved and loaded after three", hint=hint)


def test_the_state_goes_through_a_file(rng):
    """torch.load with weights_only=True reads tensors and plain Python, and executes nothing."""
    hint = "tensors, numbers, dicts and lists; no objects of your own in the state"
    with called_for("torch.save and torch.load(weights_only=True) of the state_dict", hint=hint):
        got, want = interrupted(rng, saved, **BOTH)
    expect_equal(got, want, what="a weight after six steps, with the state in a file after three", hint=hint)


def test_loading_keeps_parameters_apart(rng):
    """Two groups, and a parameter that has had no gradient yet: each state goes to its parameter."""
    start, grads = randn(rng, 3, 2), randn(rng, 4, 3, 2)

    def built():
        params = [nn.Parameter(row.clone()) for row in start]
        return params, AdamW([{"params": params[:1], "lr": 0.5}, {"params": params[1:]}], **BOTH)

    def go(optimizer, params, rows):
        for number, row in rows:
            late = None if number < 2 else row[2]
            advance(optimizer, (params[0], row[0]), (params[1], row[1]), (params[2], late))

    steps = list(enumerate(grads))
    params, optimizer = built()
    go(optimizer, params, steps)
    others, first = built()
    go(first, others, steps[:2])
    second = AdamW([{"params": others[:1]}, {"params": others[1:]}])
    with called_for("a state in which one parameter has had no gradient"):
        second.load_state_dict(copied(first))
        go(second, others, steps[2:])
    for i in range(3):
        what = f"parameter {i} of 3 in two groups, with the state loaded after two of four steps"
        expect_close(others[i].detach(), params[i].detach(), what=what, hint="the base class counts through all groups")


@pytest.mark.parametrize("options", [{"lr": 0.0}, {"eps": 0.0}, {"weight_decay": 0.0}, {"betas": (0.0, 0.0)}], ids=str)
def test_options_of_zero_are_allowed(options):
    """lr = 0 is where a warm-up begins, and weight_decay = 0 is Adam."""
    with called_for(f"AdamW with {options}", hint="at least 0: 0 is allowed"):
        got = walk(weight(4), [numbers(2)], **PLAIN | options)[-1]
    want = 4.0 if options.get("lr") == 0 else 3.875
    expect_close(got, numbers(want), what=f"the weight 4 after a step with {options}")


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=str)
def test_wrong_options_are_errors(options):
    """A comparison with NaN is False either way, and with beta = 1 the correction divides by 0."""
    AdamW([weight(1)])
    hint = "if not lr >= 0: raise ValueError(...), so that NaN is refused as well"
    with expect_raises(ValueError, what=f"AdamW with {options}", hint=hint):
        AdamW([weight(1)], **options)
