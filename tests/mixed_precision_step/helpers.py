"""A model whose gradients are known beforehand, and one step of it, after a look at what came back."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.optim import SGD

from dojo.testing import expect, expect_close, expect_equal
from dojo.testing.describe import describe
from katas.mixed_precision_step import LossScaler, MasterWeights, train_step

NAN, INF = float("nan"), float("inf")
HALF = torch.float16


class Weights(nn.Module):
    """Weights of given values; see `slope_loss`."""

    def __init__(self, *weights, dtype=HALF):
        super().__init__()
        self.weights = nn.ParameterList(torch.as_tensor(weight).to(dtype, copy=True) for weight in weights)


def slope_loss(model, slopes):
    """The sum of weight * slope: the gradient of a weight is its slope, times the scale, rounded to its dtype. A slope of
    None leaves a weight out."""
    pairs = zip(model.weights, slopes, strict=True)
    return sum((weight.float() * torch.as_tensor(slope)).sum() for weight, slope in pairs if slope is not None)


def trained(*weights, dtype=HALF, make=SGD, loss_fn=slope_loss, options=None, **scaler):
    """A model with these weights, and all that a step of it needs. SGD has lr=1, so a master moves by its gradient."""
    model = Weights(*weights, dtype=dtype)
    masters = MasterWeights(model.parameters())
    expect_masters(masters, model)
    optimizer = make(masters.masters, **(options or {"lr": 1.0}))
    scaler = LossScaler(**{"init_scale": 8.0, **scaler})
    return SimpleNamespace(model=model, masters=masters, optimizer=optimizer, scaler=scaler, loss_fn=loss_fn)


def stepped(run, *batches, max_norm=None):
    """The result of a step on these micro-batches."""
    given = list(batches)
    result = train_step(run.model, given, run.loss_fn, run.optimizer, run.masters, run.scaler, max_norm=max_norm)
    same = len(given) == len(batches) and all(map(lambda got, sent: got is sent, given, batches))
    expect(
        same, "train_step should leave the list of micro-batches as it is, but changed it", hint="no pop() or reverse()"
    )
    kinds = [type(part) for part in result] if isinstance(result, tuple) else []
    sentence = f"train_step should return StepResult(float, float, bool), but returned {describe(result)}"
    expect(kinds == [float, float, bool], sentence, hint="float(tensor) reads a number from the device")
    return result


def expect_masters(masters, model):
    """Structure before values: a float32 leaf tensor for each parameter, in a list."""
    expect(isinstance(masters, MasterWeights), f"MasterWeights(params) should be an object, but is {describe(masters)}")
    copies = getattr(masters, "masters", None)
    sentence = f"MasterWeights should have a list `masters` of tensors, but it is {describe(copies)}"
    expect(isinstance(copies, list) and all(isinstance(copy, Tensor) for copy in copies), sentence)
    want = [list(parameter.shape) for parameter in model.parameters()]
    hint = "one copy for each parameter, in their order; params may be a generator, which can be read only once"
    expect_equal([list(copy.shape) for copy in copies], want, what="the shapes of the masters", hint=hint)
    expect_equal({copy.dtype for copy in copies}, {torch.float32}, what="the dtypes of the masters", hint="float32")
    leaves = all(copy.is_leaf for copy in copies)
    expect(leaves, "masters should be leaf tensors, which an optimizer can hold", hint="detach before you copy")


def expect_scale(scaler, want, what, hint=""):
    scale = getattr(scaler, "scale", None)
    sentence = f"{what} should be {want:g}, but is {describe(scale)}"
    expect(isinstance(scale, int | float) and abs(scale - want) <= 1e-6 * want, sentence, hint=hint)


def expect_number(actual, want, what, hint=""):
    """Within 1e-5, which leaves room for an eps of 1e-6 beside a norm."""
    close = actual == want or abs(actual - want) <= 1e-5 * min(abs(want), 1e9)
    expect(close, f"{what} should be {want:.7g}, but is {actual:.7g}", hint=hint)


def expect_weights(run, *want, what, hint, **tolerance):
    """The masters have these values, and the model has them as well, rounded to its dtype."""
    for number, (value, master, weight) in enumerate(zip(want, run.masters.masters, run.model.weights, strict=True)):
        value = torch.as_tensor(value, dtype=torch.float32)
        expect_close(master, value, what=f"master {number} {what}", hint=hint, **tolerance)
        rounded = master.detach().to(weight.dtype)
        expect_equal(weight.detach(), rounded, what=f"parameter {number} {what}", hint="write_back() after the step")


def state_of(run):
    """Copies of all that a skipped step must leave alone, by name."""
    tensors = {f"parameter {i}": weight for i, weight in enumerate(run.model.weights)}
    tensors |= {f"master {i}": master for i, master in enumerate(run.masters.masters)}
    for i, master in enumerate(run.masters.masters):
        state = run.optimizer.state.get(master, {})
        tensors |= {f"the optimizer's {key} of master {i}": part for key, part in state.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def expect_same_state(run, before, what, hint):
    after = state_of(run)
    expect_equal(sorted(after), sorted(before), what=f"the names of all tensors {what}", hint=hint)
    for name, tensor in before.items():
        expect_equal(after[name], tensor, what=f"{name} {what}", hint=hint)


def expect_no_gradients(run, what):
    for kind, tensors in (("parameter", run.model.weights), ("master", run.masters.masters)):
        for number, tensor in enumerate(tensors):
            left = tensor.grad is not None and bool((tensor.grad != 0).any())
            sentence = f"{kind} {number} should have no gradient {what}, but has {describe(tensor.grad)}"
            expect(not left, sentence, hint="the next step's gradients would be added to it; clear both, always")
