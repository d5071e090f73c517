"""Stage 1. A parameter and its steps."""

import pytest
import torch
from torch.optim import Optimizer

from dojo.testing import expect, expect_close, expect_equal, expect_own_work, numbers, randn
from dojo.testing.describe import describe
from katas import adamw as kata
from katas.adamw import AdamW

from .helpers import BOTH, PLAIN, TINY, advance, expect_walk, moves, random_weight, walk, weight
from .probe import FORBIDDEN

CORRECTED = "m / (1 - beta1^t) over sqrt(v / (1 - beta2^t)), with t = 1 at the first step"


def test_it_is_an_optimizer_with_groups():
    """Schedulers, loss scalers and checkpoints work with torch's base class, and read options by their names."""
    param = weight(1, 2)
    optimizer = AdamW([param], lr=0.5, betas=(0.25, 0.75), eps=0.125, weight_decay=2.0)
    sentence = f"AdamW(params) should be a torch.optim.Optimizer, but is {describe(optimizer)}"
    expect(isinstance(optimizer, Optimizer), sentence, hint="super().__init__(params, dict of the options)")
    expect_equal(len(optimizer.param_groups), 1, what="the number of groups", hint="the base class makes them")
    group = optimizer.param_groups[0]
    for name, want in {"lr": 0.5, "betas": (0.25, 0.75), "eps": 0.125, "weight_decay": 2.0}.items():
        expect(name in group, f"the group should have the option {name!r}, but has {sorted(group)}")
        expect_equal(group[name], want, what=f"the group's {name}", hint="the defaults that the base class gets")


@pytest.mark.parametrize(
    ("name", "want"), [("lr", 1e-3), ("betas", (0.9, 0.999)), ("eps", 1e-8), ("weight_decay", 1e-2)]
)
def test_defaults(name, want):
    expect_equal(AdamW([weight(1)]).param_groups[0].get(name), want, what=f"the default of {name}")


def test_step_is_written_by_hand():
    """The optimizers of torch, and their fused operators, are the answer itself."""
    AdamW([weight(1)])
    expect_own_work(kata, FORBIDDEN)


def test_a_step_changes_the_parameter_in_place(rng):
    """The model holds this tensor: if the optimizer makes another one, the model does not train. A view of the memory
    shows the new numbers."""
    param = random_weight(rng, 3)
    optimizer, view, before = AdamW([param], **PLAIN), param.detach(), param.detach().clone()
    advance(optimizer, (param, randn(rng, 3)))
    sentence = "the parameter should have moved after a step with a gradient, but is what it was"
    expect(not torch.equal(param.detach(), before), sentence, hint="param.add_(...), not param = param + ...")
    sentence = "the step should change the memory of the parameter, but put new memory in its place"
    expect(torch.equal(param.detach(), view), sentence, hint="param.add_(...), not param.data = ...")
    expect_equal(optimizer.param_groups[0]["params"][0] is param, True, what="the group still holds the parameter")


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e6])
def test_the_first_step_is_lr_against_the_sign_of_the_gradient(scale):
    """m / (1 - beta1) is g, and v / (1 - beta2) is g^2: their quotient is a sign, for any size of gradient. Without a
    correction the first step is 3.2 times as long, or far shorter."""
    grad = scale * numbers(1, -2, 0.5, -3)
    want = -0.125 * numbers(1, -1, 1, -1)
    got = moves(weight(4, 4, 4, 4), [grad], **PLAIN)[0]
    expect_close(got, want, what=f"the first step with lr=0.125 and gradients of {scale:g}", hint=CORRECTED)


def test_two_worked_steps():
    """betas are 1/2 and 3/4, the gradients 2 and -5. m is 1, over 1/2 is 2; v is 1, over 1/4 is 4: a step of 2 / 2. Then m is
    -2, over 3/4 is -8/3; v is 7, over 7/16 is 16: a step of -8/3 / 4. The second weight has the gradients -20 and 50."""
    grads = [numbers(2, -20), numbers(-5, 50)]
    want = [[7.0, 9.0], [7 + 2 / 3, 9 - 2 / 3]]
    options = PLAIN | {"lr": 1.0, "betas": (0.5, 0.75)}
    hint = "m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, both from 0. " + CORRECTED
    expect_walk(weight(8, 8), grads, want, what="the weights 8 and 8", hint=hint, **options)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.75, 0.5)], ids=str)
def test_a_constant_gradient_keeps_the_length_of_the_step(betas):
    """Averages of a constant are that constant, if each is divided by the sum of its own weights, 1 - beta^t: every step
    is lr long, from the first on."""
    got = moves(weight(4, -4), [numbers(0.5, -3)] * 6, **PLAIN | {"betas": betas})
    want = (0.125 * numbers(-1, 1)).expand(6, 2)
    expect_close(got, want, what=f"6 steps with lr=0.125, a constant gradient, betas={betas}", hint=CORRECTED)


@pytest.mark.parametrize("scale", [1e-4, 100.0])
def test_the_scale_of_the_gradients_does_not_matter(rng, scale):
    """If all gradients are multiplied by one number, so are m and the root of v. That is why a learning rate carries over
    from one loss to another."""
    grads = [randn(rng, 3) for _ in range(5)]
    want = moves(weight(1, 2, 3), grads, **PLAIN)
    got = moves(weight(1, 2, 3), [scale * grad for grad in grads], **PLAIN)
    hint = "v is an average of g^2, and its root is taken"
    expect_close(got, want, what=f"5 steps with gradients times {scale:g}, against those without", hint=hint)


@pytest.mark.parametrize("lr", [0.125, 0.5])
def test_decay_alone_shrinks_the_weight_by_lr_times_weight_decay(lr):
    """With gradients of 0 the moments stay 0, and each step multiplies the weight by 1 - lr * weight_decay. As an L2 term
    in the gradient the decay would be divided by its own size: a step of lr, whatever the weight is."""
    hint = "param.mul_(1 - lr * weight_decay); the gradient and the moments know nothing of the decay"
    want = [[8.0 * (1 - 0.5 * lr) ** t, -2.0 * (1 - 0.5 * lr) ** t] for t in (1, 2, 3)]
    what = f"the weights 8 and -2 without slope, lr={lr}, weight_decay=0.5"
    options = {"lr": lr, "eps": 1e-8, "weight_decay": 0.5}
    expect_walk(weight(8, -2), [numbers(0, 0)] * 3, want, what=what, hint=hint, **options)


def test_the_decay_is_of_the_weight_before_the_step():
    """A first step of 0.5 and a decay of a quarter: 8 - 2 - 0.5. Decay after the update would take a quarter of 7.5."""
    hint = "(1 - lr * weight_decay) times the weight as it was, then minus the update"
    options = {"lr": 0.5, "eps": TINY, "weight_decay": 0.5}
    what = "the weights 8 and -8 with lr=0.5 and weight_decay=0.5"
    expect_walk(weight(8, -8), [numbers(3, 3)], [[5.5, -6.5]], what=what, hint=hint, **options)


def test_the_decay_leaves_the_moments_alone(rng):
    """Two equal weights with other decays get the same update: after each step they differ by the decay alone."""
    grads = [randn(rng, 3) for _ in range(4)]
    options = PLAIN | {"eps": 0.25}
    start = randn(rng, 3)
    without = moves(weight(*start.tolist()), grads, **options)
    values = walk(weight(*start.tolist()), grads, **options | {"weight_decay": 0.5})
    got = values[1:] - (1 - 0.125 * 0.5) * values[:-1]
    hint = "add no weight_decay * param to the gradient; no decay inside the quotient"
    expect_close(got, without, what="the updates beside the decay, against those without decay", hint=hint)


@pytest.mark.parametrize("eps", [0.25, 2.0])
def test_eps_is_added_to_the_root(eps):
    """With betas of 0 a step is lr g / (|g| + eps). Inside the root it would be g / sqrt(g^2 + eps)."""
    grad = numbers(1, -3, 0.5)
    want = -0.125 * grad / (grad.abs() + eps)
    got = moves(weight(4, 4, 4), [grad], **PLAIN | {"eps": eps, "betas": (0.0, 0.0)})[0]
    expect_close(got, want, what=f"a step with betas=(0, 0) and eps={eps}", hint="root of v, then + eps")


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.75)], ids=str)
def test_eps_stands_beside_the_corrected_root(betas):
    """With a constant gradient the corrected root is |g| at every step, and each is lr g / (|g| + eps). An eps that is
    added before the correction counts 32 times as much at first."""
    grad = numbers(0.5, -3)
    want = (-0.125 * grad / (grad.abs() + 0.25)).expand(4, 2)
    got = moves(weight(4, 4), [grad] * 4, **PLAIN | {"eps": 0.25, "betas": betas})
    hint = "sqrt(v / (1 - beta2^t)) + eps; if you fold the corrections into lr, eps is to be multiplied as well"
    expect_close(got, want, what=f"4 steps with a constant gradient, eps=0.25, betas={betas}", hint=hint)


def test_it_walks_like_adamw(rng):
    """Everything together, over 30 steps, beside the optimizer of torch, which a step by itself can look like."""
    start, grads = randn(rng, 2, 3), [randn(rng, 2, 3) for _ in range(30)]
    param, other = (torch.nn.Parameter(start.clone()) for _ in range(2))
    want = walk(other, grads, torch.optim.AdamW([other], foreach=False, **BOTH))
    got = walk(param, grads, **BOTH)
    for step in (1, 2, 30):
        expect_close(got[step], want[step], what=f"the weights after step {step}, with {BOTH}", hint=CORRECTED)
