"""Stage 4. Passes through the model, numbers that the host waits for, and memory."""

import torch
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode

from dojo.testing import expect, expect_equal, numbers
from dojo.testing.alive import Alive
from katas.mixed_precision_step import LossScaler

from .helpers import slope_loss, stepped, trained


def test_one_forward_and_one_backward_for_each_micro_batch():
    """A second backward over the same graph, or a forward for the report, costs as much as the first. One backward of all
    losses together would hold the activations of all micro-batches at a time, which is why there are several."""
    run, passes = trained(numbers(1, 2)), []

    def loss_fn(model, slopes):
        passes.append("forward")
        loss = slope_loss(model, slopes)
        loss.register_hook(lambda grad: passes.append("backward"))
        return loss

    run.loss_fn = loss_fn
    for slope in (1.0, 1e6):
        stepped(run, [numbers(slope, 1)], [numbers(2, 1)], [numbers(0, 1)])
        what = "the passes through the model in a step of three micro-batches"
        hint = "loss_fn(model, batch) once, then backward() once, also where the step is skipped"
        expect_equal(passes, ["forward", "backward"] * 3, what=what, hint=hint)
        passes.clear()


def test_the_host_waits_a_fixed_number_of_times(cost):
    """if, bool(), float() and item() wait until the device has computed a number. Once for each parameter, or each
    micro-batch, the device stands idle in between."""

    def reads(parameters, batches):
        run = trained(*[torch.ones(2)] * parameters)
        slopes = [numbers(0.5, 1)] * parameters
        with cost() as spent:
            stepped(run, *[slopes] * batches, max_norm=1.0)
        sentence = f"torch operators should do the work, but a step ran only {spent.operators}"
        expect(spent.operators > 10, sentence, hint="compute with torch")
        return spent.calls["aten._local_scalar_dense"] + spent.calls["aten.equal"]

    few = reads(2, 1)
    for parameters, batches in ((6, 1), (2, 4)):
        many, size = reads(parameters, batches), f"{parameters} parameters and {batches} micro-batches"
        sentence = f"a step with {size} should read as many numbers as with 2 and 1 ({few}), but read {many}"
        expect(many <= few, sentence, hint="stack what you ask of each gradient, and read once; add losses as tensors")


def test_unscale_reads_one_number(cost):
    """One answer for the whole list."""
    with cost() as spent:
        LossScaler(8.0).unscale([torch.ones(3) for _ in range(9)])
    count = spent.calls["aten._local_scalar_dense"]
    sentence = f"unscale of 9 gradients should read at most one number from the device, but read {count}"
    expect(count <= 1, sentence, hint="torch.stack([grad.isfinite().all() for grad in grads]).all()")


def test_a_step_makes_no_backup():
    """Gradients exist twice, in float16 and in float32. Weights and the optimizer's state need no copy that could be put
    back after an overflow, because nothing has changed until then. 10 parameters of 200 numbers: what a single one of
    them takes on the way counts little."""
    run = trained(*[torch.ones(200)] * 10, make=AdamW, options={"lr": 0.125})
    slopes = [torch.full((200,), 0.5)] * 10
    stepped(run, slopes)
    with Alive() as alive:
        stepped(run, slopes, max_norm=1.0)
    copies = alive.peak / 2000
    sentence = f"a step should hold at most 2.75 new numbers for each weight at a time, but held {copies:.2f}"
    expect(copies <= 2.75, sentence, hint="copy neither weights nor the optimizer's state, and gradients only once")


class Copies(TorchDispatchMode):
    """Counts the float32 copies that operators make of these tensors."""

    def __init__(self, tensors):
        super().__init__()
        self.storages, self.count = {tensor.untyped_storage()._cdata for tensor in tensors}, 0

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # otherwise torch imports its compiler, which takes a second

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        source = {"aten.clone": 0, "aten._to_copy": 0, "aten.copy_": 1}.get(str(func.overloadpacket))
        if source is not None and out.dtype == torch.float32:
            self.count += args[source].untyped_storage()._cdata in self.storages
        return out


def test_a_step_copies_no_weights(monkeypatch):
    """Neither for a while: a good step would pay for what only a skipped one could need, and that one needs it not."""
    deep, deepcopy = [], torch.Tensor.__deepcopy__  # which no operator does
    monkeypatch.setattr(torch.Tensor, "__deepcopy__", lambda tensor, memo: deep.append(1) or deepcopy(tensor, memo))
    run = trained(numbers(1, 2), numbers(5), make=AdamW, options={"lr": 0.125})
    stepped(run, [numbers(0.5, 1), numbers(2)])
    states = [
        part for state in run.optimizer.state.values() for part in state.values() if isinstance(part, torch.Tensor)
    ]
    for slope in (1.0, 1e6):
        with Copies([*run.masters.masters, *states]) as copies:
            stepped(run, [numbers(slope, 1), numbers(2)], max_norm=1.0)
        made = copies.count + len(deep)
        sentence = f"a step should copy no master and no state of the optimizer, but made {made} copies of them"
        expect(made == 0, sentence, hint="nothing has changed until unscale has answered: no backup is needed")
