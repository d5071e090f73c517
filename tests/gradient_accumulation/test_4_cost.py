"""Stage 4. No copy of all gradients, no wait for each; one forward and one backward for a micro-batch, one graph at a time."""

from weakref import WeakSet

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_equal, numbers
from dojo.testing.alive import Alive
from dojo.testing.modules import Traced
from katas.gradient_accumulation import clip_grad_norm

from .helpers import INF, counted, micro, step_of, stepped, trained, with_grads


class Token:
    """Lives as long as the graph that holds it."""


@pytest.mark.parametrize("most", [1.0, INF], ids=["clips", "leaves"])
def test_clipping_waits_a_fixed_number_of_times(cost, most):
    """if, bool(), float() and item() wait until the device has computed a number. Once for each parameter, the device
    stands idle in between."""
    reads = []
    for count in (2, 12):
        parameters = with_grads(*[torch.ones(3)] * count)
        with cost() as spent:
            clip_grad_norm(parameters, most)
        expect(spent.operators > 1, "torch operators should do the work, but hardly any ran", hint="compute with torch")
        reads.append(spent.calls["aten._local_scalar_dense"] + spent.calls["aten.equal"])
    sentence = f"clipping 12 gradients should read as many numbers as clipping 2 ({reads[0]}), but read {reads[1]}"
    expect(reads[1] <= reads[0], sentence, hint="stack the norms of the parameters, and read at most the norm of these")


@pytest.mark.parametrize("most", [1.0, INF], ids=["clips", "leaves"])
def test_clipping_copies_one_gradient_at_most(most):
    """All gradients are as large as the model: a second time they may not fit. 12 gradients of 200 numbers."""
    parameters = with_grads(*[torch.ones(200)] * 12)
    with Alive() as alive:
        clip_grad_norm(parameters, most)
    copies = alive.peak / 200
    sentence = f"clipping 12 gradients should hold at most 3 copies of one at a time, but held {copies:.2f}"
    expect(copies <= 3, sentence, hint="a norm for each, and the norm of these; scale in place; no torch.cat")


def test_one_forward_and_one_backward_for_each_micro_batch():
    """A forward to count with, or a second one for the report, costs as much as the first."""
    run, passes = trained(numbers(1, 2)), []

    def loss_sum(outputs, y):
        passes.append("forward")
        loss, count = counted(outputs, y)
        loss.register_hook(lambda grad: passes.append("backward"))
        return loss, count

    run.loss_sum = loss_sum
    calls = []
    run.model.register_forward_hook(lambda *_: calls.append(1))
    stepped(run, micro([[1, 2]]), micro([[3, 4]] * 3), micro([[5, 6]] * 2), max_norm=1.0)
    hint = "model(x) once and backward once, and the next micro-batch after that"
    expect_equal(passes, ["forward", "backward"] * 3, what="the passes of three micro-batches", hint=hint)
    expect_equal(len(calls), 3, what="the calls of the model for three micro-batches", hint=hint)


class Saved:
    """A tensor that a graph keeps for its backward."""

    def __init__(self, tensor):
        self.tensor = tensor


def most_saved(run, *batches):
    """The most elements that graphs keep for their backward at a time."""
    alive, peak = WeakSet(), 0

    def pack(tensor):
        nonlocal peak
        saved = Saved(tensor)
        alive.add(saved)
        peak = max(peak, sum(each.tensor.numel() for each in alive))
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        stepped(run, *batches, max_norm=1.0)
    return peak


def test_activations_of_one_micro_batch_at_a_time():
    """That is what micro-batches are for. Losses that are added up before one backward keep them all."""
    run = trained(numbers(1))
    run.model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    large, small = micro([[1, 2, 3]] * 8), micro([[4, 5, 6]] * 2)
    one, all_of_them = most_saved(run, large), most_saved(run, small, large, small, large)
    sentence = f"a step over 2, 8, 2, 8 rows should keep {one} numbers for backward at a time, but kept {all_of_them}"
    expect(all_of_them <= one, sentence, hint="backward() in the loop, which frees the graph's tensors")


@pytest.mark.parametrize("items", [1, 0], ids=["items", "one without items"])
def test_graphs_do_not_pile_up(items):
    """A loss that is kept with its graph, in a list or in a sum, keeps every node of it, and what the nodes hold."""
    run, graphs, alive = trained(numbers(1, 2)), WeakSet(), []

    def loss_sum(outputs, y):
        alive.append(len(graphs))
        graphs.add(token := Token())
        loss, count = counted(outputs, y)
        return Traced.apply(loss, token), count

    run.loss_sum = loss_sum
    batches = [micro([[1, 2]]), micro([[3, 4]], [items]), micro([[5, 6]]), micro([[7, 8]])]
    step_of(run, (batch for batch in batches), max_norm=1.0)
    hint = "loss.detach() before you add it up"
    sentence = f"at most 1 graph should be alive when the next one begins, but these were: {alive}"
    expect(max(alive) <= 1, sentence, hint=hint)
    expect(not graphs, f"no graph should be alive after the step, but {len(graphs)} were", hint=hint)
