"""A model whose gradients are known beforehand, one step of it, and a look at what came back."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.optim import SGD

from dojo.testing import expect, expect_close, expect_equal, randint, randn
from dojo.testing.describe import describe
from katas.gradient_accumulation import accumulated_step, clip_grad_norm

NAN, INF = float("nan"), float("inf")
DIVIDE = "add up all losses and all counts; the loss is their quotient, and so are the gradients"


class Dot(nn.Module):
    """model(x) = x @ all weights, one after the other; a narrower x leaves the last weights out."""

    def __init__(self, *weights, dtype=torch.float64):
        super().__init__()
        self.weights = nn.ParameterList(torch.as_tensor(weight).to(dtype, copy=True) for weight in weights)

    def forward(self, x):
        widths = [0]
        for weight in self.weights:
            widths.append(widths[-1] + len(weight))
        pairs = zip(self.weights, widths, strict=False)
        return sum(x[:, start : start + len(weight)] @ weight for weight, start in pairs if start < x.shape[1])


def counted(outputs, y):
    """The outputs under y = 1 are items, those under y = 0 padding: the gradient is the sum of the rows of x under y = 1."""
    return (outputs * y.to(outputs.dtype)).sum(), int(y.sum())


def micro(rows, y=None, *, repeat=1, dtype=torch.float64):
    """A micro-batch of these rows, all of them counted unless y says which."""
    x = torch.tensor(rows, dtype=dtype).reshape(len(rows), -1).repeat(repeat, 1)
    return x, torch.ones(len(x), dtype=torch.long) if y is None else torch.tensor(y)


def some(rng, count, width, *, items=None):
    """A micro-batch of random rows; `items` of them count, or all."""
    y = torch.zeros(count, dtype=torch.long)
    y[torch.randperm(count, generator=rng)[: count if items is None else items]] = 1
    return randint(rng, -8, 9, count, width).double() / 4, y


def trained(*weights, dtype=torch.float64, make=SGD, loss_sum=counted, **options):
    """A model with these weights and its optimizer. SGD has lr=1, so a weight moves by its gradient."""
    model = Dot(*weights, dtype=dtype)
    optimizer = make(model.parameters(), **{"lr": 1.0, **options})
    return SimpleNamespace(model=model, optimizer=optimizer, loss_sum=loss_sum)


def stepped(run, *batches, max_norm=None):
    """The result of a step on these micro-batches."""
    return step_of(run, list(batches), max_norm=max_norm)


def step_of(run, batches, **options):
    result = accumulated_step(run.model, batches, run.loss_sum, run.optimizer, **options)
    kinds = [type(part) for part in result] if isinstance(result, tuple) else []
    sentence = f"accumulated_step should return StepResult(float, int, float), but returned {describe(result)}"
    expect(kinds == [float, int, float], sentence, hint="float(tensor) reads a number from the device")
    named = getattr(result, "_fields", None) == ("loss", "items", "grad_norm")
    expect(named, f"the result should be a StepResult, but is {describe(result)}", hint="loss, items, grad_norm")
    return result


def weights_of(run):
    return [weight.detach().clone() for weight in run.model.weights]


def expect_weights(run, *want, what, hint, **tolerance):
    for number, (value, weight) in enumerate(zip(want, run.model.weights, strict=True)):
        value = torch.as_tensor(value).to(weight.dtype)
        expect_close(weight.detach(), value, what=f"parameter {number} {what}", hint=hint, **tolerance)


def expect_number(actual, want, what, hint="", rtol=1e-9):
    close = actual == want or abs(actual - want) <= rtol * max(abs(want), 1e-3)
    expect(close, f"{what} should be {want:.9g}, but is {actual:.9g}", hint=hint)


def expect_result(result, loss, items, norm, *, what, hint=DIVIDE):
    expect_number(result.loss, loss, f"the loss {what}", hint=hint)
    expect_equal(result.items, items, what=f"items {what}", hint="the sum of what loss_sum counts")
    expect_number(result.grad_norm, norm, f"grad_norm {what}", hint="of the mean loss, before clipping", rtol=1e-6)


def state_of(run):
    """Copies of all that a step changes, by name."""
    tensors = {f"parameter {i}": weight for i, weight in enumerate(run.model.weights)}
    for i, weight in enumerate(run.model.weights):
        state = run.optimizer.state.get(weight, {})
        tensors |= {f"the optimizer's {key} of parameter {i}": part for key, part in state.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def expect_same_state(run, before, what, hint):
    after = state_of(run)
    expect_equal(sorted(after), sorted(before), what=f"the names of all tensors {what}", hint=hint)
    for name, tensor in before.items():
        expect_equal(after[name], tensor, what=f"{name} {what}", hint=hint)


def with_grads(*grads):
    """Parameters of ones that have these gradients; of the dtype of each, or none."""
    parameters = []
    for grad in grads:
        parameters.append(nn.Parameter(torch.ones_like(torch.ones(2) if grad is None else grad)))
        parameters[-1].grad = None if grad is None else grad.clone()
    return parameters


def clipped(*grads, max_norm):
    """The norm, and the gradients of parameters after they are clipped."""
    parameters = with_grads(*grads)
    norm = clip_grad_norm(parameters, max_norm)
    what = "clip_grad_norm's result"
    scalar = isinstance(norm, Tensor) and norm.dim() == 0
    expect(scalar, f"{what} should be a tensor of shape [], but is {describe(norm)}", hint="return the norm")
    for parameter in parameters:
        expect_equal(parameter.detach(), torch.ones_like(parameter), what="a parameter after its gradient is clipped")
    return norm, [parameter.grad for parameter in parameters]


def expect_clipped(grads, want, *, what, hint, **tolerance):
    for number, (grad, value) in enumerate(zip(grads, want, strict=True)):
        if value is None:
            expect(grad is None, f"gradient {number} {what} should stay None, but is {describe(grad)}", hint=hint)
        else:
            expect_close(grad, value, what=f"gradient {number} {what}", hint=hint, **tolerance)


def random_grads(rng, *shapes, dtype=torch.float64):
    return [randn(rng, *shape).to(dtype) for shape in shapes]
