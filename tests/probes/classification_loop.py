"""What can be seen of a training loop: numbers, weights, modes, what was moved, which graphs live, what fit keeps."""

import weakref

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from dojo.probes import Case
from dojo.testing import randint, randn

NAN = float("nan")
LOSSES = {
    "best": [[4.0, 4.0], [5.0, -1.0], [12.0, -2.0], [7.0, -1.0]],  # 4, 2, 5, 3
    "tie": [[3.0], [1.0], [1.0], [2.0]],
    "nan": [[NAN], [2.0], [1.0], [3.0], [NAN]],
}


class OnHost(Tensor):
    """A tensor that nobody has moved yet: `.to(device)` gives a plain one."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        moved = func is Tensor.to and any(isinstance(a, str | torch.device) for a in [*args, *(kwargs or {}).values()])
        return out.as_subclass(Tensor) if moved else out


class Token:
    """Lives as long as the graph node that holds it."""


class Traced(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, living):
        ctx.token = Token()
        living.add(ctx.token)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Script(nn.Module):
    """Its weight counts steps of SGD(lr=1); its inputs say what the loss shall be after 0, 1, 2, ... steps."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.register_buffer("statistic", torch.zeros((), dtype=torch.float64))

    def forward(self, table):
        self.statistic += self.training
        steps = self.weight.detach()
        now = table[:, min(int(steps), table.shape[1] - 1)]
        return torch.stack([now + steps - self.weight, torch.zeros_like(now)], 1)


class Running(nn.Module):
    """A BatchNorm that can train on one row: it centres by a running mean."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def forward(self, inputs):
        if self.training:
            self.mean += 0.1 * (inputs.detach().mean(0) - self.mean)
        return inputs - self.mean


class Echo(nn.Module):
    """Its inputs are its logits."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float16))

    def forward(self, inputs):
        return inputs * self.weight


def first_logit(logits, targets):
    return logits[:, 0].mean()


def cases(rng):
    data = {"inputs": 3 * randn(rng, 10, 3), "targets": randint(rng, 0, 3, 10), "weight": randn(rng, 3, 3)}
    for of in ("train_one_epoch", "evaluate"):
        for start in ("train", "eval"):
            yield Case(f"{of} from {start} mode", of=of, start=start, options={}, **data)
        yield Case(f"{of} drop_last", of=of, start="train", options={"drop_last": True}, **data)
        yield Case(f"{of} half", of=of)
        yield Case(f"{of} empty", of=of)
    for name, losses in LOSSES.items():
        yield Case(f"fit {name}", of="fit", losses=torch.tensor(losses, dtype=torch.float64))
    yield Case("fit schedule", of="fit", **data)
    yield Case("fit no epochs", of="fit", **data)


def run(kata, case):
    with torch.enable_grad():
        if case.of == "fit":
            return run_script(kata, case.losses) if hasattr(case, "losses") else run_schedule(kata, case)
        if case.name.endswith("half"):
            batch = torch.full((4096, 2), 20.0, dtype=torch.float16), torch.ones(4096, dtype=torch.int64)
            return numbers(one_pass(kata, case.of, Echo(), [batch] * 2, first_logit, 0.0))
        if case.name.endswith("empty"):
            return numbers(one_pass(kata, case.of, nn.Linear(3, 3), [], cross_entropy))
        return run_passes(kata, case)


def one_pass(kata, of, model, batches, loss_fn, lr=0.1):
    if of == "evaluate":
        return kata.evaluate(model, batches, loss_fn, "cpu")
    return kata.train_one_epoch(model, batches, loss_fn, SGD(model.parameters(), lr), "cpu")


def numbers(result):
    """float32, so that running sums may be kept in it."""
    kinds = [isinstance(value, float) for value in (result.loss, result.accuracy)]
    return {"loss": torch.tensor(float(result.loss)), "accuracy": torch.tensor(float(result.accuracy)), "floats": kinds}


def linear(case):
    model = nn.Sequential(Running(), nn.Linear(3, 3)).double()
    with torch.no_grad():
        model[1].weight.copy_(case.weight)
        model[1].bias.zero_()
    return model


def plain(tensor):
    return tensor.detach().as_subclass(Tensor)


def run_passes(kata, case):
    """Two passes in a row. What of the gradients is left in between is free, and not looked at in training."""
    model = linear(case).train(case.start == "train")
    modes, unmoved, living, alive, attached = [], set(), weakref.WeakSet(), [], set()
    for parameter in model.parameters() if case.of == "evaluate" else ():
        parameter.grad = torch.ones_like(parameter)

    def before(module, args):
        modes.append(module.training)
        unmoved.update({"inputs"} if isinstance(args[0], OnHost) else ())

    def loss_fn(logits, targets):
        unmoved.update({"targets"} if isinstance(targets, OnHost) else ())
        attached.add(logits.requires_grad)
        alive.append(len(living))
        return cross_entropy(Traced.apply(logits, living), targets)

    model.register_forward_pre_hook(before)
    data = TensorDataset(case.inputs.as_subclass(OnHost), case.targets.as_subclass(OnHost))
    loader = DataLoader(data, batch_size=3, **case.options)
    return {
        "results": [numbers(one_pass(kata, case.of, model, loader, loss_fn)) for _ in range(2)],
        "state": {name: plain(tensor) for name, tensor in model.state_dict().items()},
        "gradients": [plain(p.grad) for p in model.parameters() if p.grad is not None and case.of == "evaluate"],
        "modes": [*modes, model.training],
        "unmoved": sorted(unmoved),
        "logits need gradients": sorted(attached),
        "old graphs live": max(alive) > 1,
        "gradients are on": torch.is_grad_enabled(),
    }


def history_of(entries):
    return {key: torch.tensor([float(entry[key]) for entry in entries]) for key in sorted(entries[0])}


def run_script(kata, losses):
    """One step per epoch, then one more after fit."""
    model, (epochs, rows) = Script(), losses.shape
    optimizer = SGD(model.parameters(), lr=1.0)
    val = torch.cat([torch.full((rows, 1), 9.0), losses.T], 1)
    train = torch.tensor([[8.0, 7.0, 5.0, 6.0, 9.0, 9.0]], dtype=torch.float64)  # lowest in epoch 3
    loaders = [DataLoader(TensorDataset(t, torch.zeros(len(t)).long()), 4) for t in (train, val)]
    history = kata.fit(model, *loaders, first_logit, optimizer, epochs=epochs)
    state = [t.clone() for t in model.state_dict().values()]
    optimizer.zero_grad()
    first_logit(model(train), None).backward()
    optimizer.step()
    return {"history": history_of(history), "state": state, "weight after another step": model.weight}


class Passes(list):
    """Batches, and how often they were iterated over."""

    count = 0

    def __iter__(self):
        self.count += 1
        return super().__iter__()


def run_schedule(kata, case):
    model, rates = linear(case), []
    optimizer = SGD(model.parameters(), lr=0.4)
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    batches = list(zip(case.inputs.split(3), case.targets.split(3), strict=True))
    train, val = Passes(batches[:3]), Passes(batches[2:])
    epochs = 0 if case.name == "fit no epochs" else 3
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)

    def high_loss(logits, targets):  # no loss is an epoch's number, should someone hand it to the scheduler
        return cross_entropy(logits, targets) + 5

    history = kata.fit(model, train, val, high_loss, optimizer, epochs=epochs, scheduler=scheduler)
    return {
        "history": history_of(history) if history else "empty",
        "state": dict(model.state_dict()),
        "rates": torch.tensor(rates),
        "modes": modes,
        "passes": [train.count, val.count],
    }
