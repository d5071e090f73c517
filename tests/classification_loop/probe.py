"""What can be seen of a training loop: numbers, weights, modes, what was moved, which graphs live, what fit keeps."""

import weakref

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Pairs

NAN, INF = float("nan"), float("inf")
LOSSES = {
    "best": [[4.0, 4.0], [5.0, -1.0], [12.0, -2.0], [7.0, -1.0]],  # 4, 2, 5, 3
    "tie": [[3.0], [1.0], [1.0], [2.0]],
    "nan": [[NAN], [2.0], [1.0], [3.0], [NAN]],
    "no best": [[NAN], [NAN]],
    "inf": [[INF], [INF], [INF]],
    "patience": [[1.0], *[[2.0]] * 11],
    "a little lower": [[2.0], [1.9999], [3.0]],
    "high": [[1e12], [1e10], [1e11]],
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


def whole(rng, low, high):
    return int(randint(rng, low, high, 1))


def exact(rng):
    """Between 1/2 and 2, with so few digits that sums of it are not rounded: equal losses stay equal."""
    return whole(rng, 2**18, 2**20) / 2**19


def script(rng, name):
    """Validation losses [epochs, rows], and training losses that are lowest in epoch 3."""
    losses = torch.tensor(LOSSES[name], dtype=torch.float64) * exact(rng)
    train = torch.tensor([[8.0, 7.0, 5.0, 6.0, 9.0, 9.0]], dtype=torch.float64) * exact(rng)
    return Case(f"fit {name}", of="fit", losses=losses, train=train)


def halves(rng):
    """Two batches of one level each, and 4 k + 3 right answers, which half precision rounds up."""
    levels, hits = [[randint(rng, low, high, 1) for _ in range(2)] for low, high in ((60, 120), (0, 500))]
    inputs = torch.stack([torch.cat([level / 4, torch.zeros(1)]).expand(4096, -1) for level in levels]).half()
    order = torch.rand(2, 4096, generator=rng).argsort(1)
    return {"inputs": inputs, "targets": (order >= 2051 + 4 * torch.stack(hits)).long()}


def cases(rng):
    data = {"inputs": 3 * randn(rng, 10, 3), "targets": randint(rng, 0, 3, 10), "weight": randn(rng, 3, 3)}
    for of in ("train_one_epoch", "evaluate"):
        for start in ("train", "eval"):
            yield Case(f"{of} from {start} mode", of=of, start=start, options={}, **data)
        yield Case(f"{of} drop_last", of=of, start="train", options={"drop_last": True}, **data)
        yield Case(f"{of} half", of=of, **halves(rng))
        yield Case(f"{of} empty", of=of)
        yield Case(f"{of} generator", of=of, **data)
        yield Case(f"{of} NaN", of=of, inputs=randn(rng, 41, 2), targets=(torch.arange(41) // 4 == 5).long())
        yield Case(f"{of} pictures", of=of, shape=[whole(rng, 2, 9) for _ in range(4)])
    yield Case("train_one_epoch with a loss that trains", of="train_one_epoch", **data)
    yield Case("evaluate mixed modes", of="evaluate", start="mixed", options={}, **data)
    for name in LOSSES:
        yield script(rng, name)
    for number in range(3):
        levels = torch.randperm(7, generator=rng) + 0.2 * torch.rand(7, generator=rng, dtype=torch.float64)
        losses = levels[:, None] + randn(rng, 7, 1) * torch.tensor([[1.0, -1.0]])
        yield Case(f"fit any {number}", of="fit", losses=losses, train=3 + randn(rng, 1, 8))
    rates = torch.rand(3, generator=rng, dtype=torch.float64).add(0.5).mul(torch.tensor([0.4, 0.05, 0.5])).tolist()
    yield Case("fit schedule", of="fit", rates=rates, **data)
    yield Case("fit no epochs", of="fit", rates=[0.4, 0.05, 0.5], **data)


def run(kata, case):
    with torch.enable_grad():
        if case.of == "fit":
            return run_script(kata, case) if hasattr(case, "losses") else run_schedule(kata, case)
        if case.name.endswith("half"):
            batches = list(zip(case.inputs, case.targets, strict=True))
            return numbers(one_pass(kata, case.of, Echo(), batches, first_logit, 0.0))
        if case.name.endswith("pictures"):
            return run_pictures(kata, case)
        if case.name.endswith("empty"):
            return numbers(one_pass(kata, case.of, nn.Linear(3, 3), [], cross_entropy))
        if case.name.endswith("generator"):
            batches = zip(case.inputs.split(3), case.targets.split(3), strict=True)
            return numbers(one_pass(kata, case.of, linear(case), batches, cross_entropy))
        if case.name.endswith("NaN"):
            batches = list(zip(case.inputs.split(4), case.targets.split(4), strict=True))
            return numbers(one_pass(kata, case.of, Echo(), batches, nan_for_ones, 0.0))
        if case.name.endswith("loss that trains"):
            return run_loss_that_trains(kata, case)
        return run_passes(kata, case)


def one_pass(kata, of, model, batches, loss_fn, lr=0.1):
    if of == "evaluate":
        return kata.evaluate(model, batches, loss_fn, "cpu")
    return kata.train_one_epoch(model, batches, loss_fn, SGD(model.parameters(), lr), "cpu")


def run_pictures(kata, case):
    """What shape the model is given, and whether the pass draws from the global stream."""
    shapes, images = [], torch.ones(case.shape)
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 2))
    model.register_forward_pre_hook(lambda _, args: shapes.append(list(args[0].shape)))
    before = torch.random.get_rng_state()
    one_pass(kata, case.of, model, [(images, torch.ones(len(images)).long())], cross_entropy)
    return {"shapes": shapes, "stream": Pairs(before, torch.random.get_rng_state())}


def nan_for_ones(logits, targets):
    return torch.where(targets == 1, NAN, logits[:, 0]).mean()


def run_loss_that_trains(kata, case):
    """A parameter that the optimizer holds and the model does not."""
    model, factor = linear(case), nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = SGD([{"params": model.parameters(), "lr": 0.0}, {"params": [factor], "lr": 0.1}], lr=0.0)
    batches = list(zip(case.inputs.split(3), case.targets.split(3), strict=True))
    kata.train_one_epoch(model, batches, lambda *args: factor * cross_entropy(*args), optimizer, "cpu")
    return {"factor": factor}


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
    model = linear(case).train(case.start != "eval")
    if case.of == "evaluate":
        model[0].train(case.start == "train")
        model[1].bias.requires_grad_(False)
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
    seen = {
        "results": [numbers(one_pass(kata, case.of, model, loader, loss_fn)) for _ in range(2)],
        "state": {name: plain(tensor) for name, tensor in model.state_dict().items()},
        "gradients": [plain(p.grad) for p in model.parameters() if p.grad is not None and case.of == "evaluate"],
        "modes": [*modes, model.training],
        "unmoved": sorted(unmoved),
        "logits need gradients": sorted(attached),
        "old graphs live": max(alive) > 1,
        "gradients are on": torch.is_grad_enabled(),
    }
    if case.of == "evaluate":
        seen["modes afterwards"] = [module.training for module in model.modules()]
        seen["trains"] = [p.requires_grad for p in model.parameters()]
        with torch.no_grad():
            one_pass(kata, case.of, model, loader, loss_fn)
            seen["gradients are off"] = not torch.is_grad_enabled()
    return seen


def history_of(entries):
    kinds = sorted({type(value).__name__ for entry in entries for value in entry.values()})
    return {"kinds": kinds} | {key: torch.tensor([float(e[key]) for e in entries]) for key in sorted(entries[0])}


def run_script(kata, case):
    """One step per epoch, then one more after fit."""
    model, train, (epochs, rows) = Script(), case.train, case.losses.shape
    optimizer = SGD(model.parameters(), lr=1.0)
    val = torch.cat([torch.full((rows, 1), 9.0), case.losses.T], 1)
    loaders = [DataLoader(TensorDataset(t, torch.zeros(len(t)).long()), 4) for t in (train, val)]
    history = kata.fit(model, *loaders, first_logit, optimizer, epochs=epochs)
    state = [t.clone() for t in model.state_dict().values()]
    optimizer.zero_grad()
    first_logit(model(train), None).backward()
    optimizer.step()
    return {"history": history_of(history), "state": state, "weight after another step": model.weight}


class Noted(StepLR):
    """Notes what its steps are called with."""

    def step(self, *args, **kwargs):
        self.__dict__.setdefault("calls", []).append([*args, *kwargs.values()])
        super().step()


class Passes(list):
    """Batches, and how often they were iterated over."""

    count = 0

    def __iter__(self):
        self.count += 1
        return super().__iter__()


def run_schedule(kata, case):
    model, rates = linear(case), []
    lr, other_lr, gamma = case.rates
    other = {"params": [nn.Parameter(torch.ones(()))], "lr": other_lr}
    optimizer = SGD([{"params": model.parameters()}, other], lr=lr)
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    moved = set()

    class LiveRun(Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is Tensor.to:
                values = [*args[1:], *(kwargs or {}).values()]
                moved.update(str(value) for value in values if isinstance(value, str | torch.device))
            out = super().__torch_function__(func, types, args, kwargs or {})
            return out.as_subclass(Tensor) if func is Tensor.to else out

    columns = (t.as_subclass(LiveRun).split(3) for t in (case.inputs, case.targets))
    batches = list(zip(*columns, strict=True))
    train, val = Passes(batches[:3]), Passes(batches[2:])
    epochs = 0 if case.name == "fit no epochs" else 3
    scheduler = Noted(optimizer, step_size=1, gamma=gamma)
    scheduler.calls.clear()  # its constructor takes a step of its own

    def high_loss(logits, targets):  # no loss is an epoch's number, should someone hand it to the scheduler
        return cross_entropy(logits, targets) + 5

    history = kata.fit(model, train, val, high_loss, optimizer, epochs=epochs, scheduler=scheduler, device="cpu:0")
    return {
        "moved to": sorted(moved),
        "history": history_of(history) if history else "empty",
        "state": {name: plain(tensor) for name, tensor in model.state_dict().items()},
        "rates": torch.tensor(rates),
        "scheduler": scheduler.calls,
        "modes": modes,
        "passes": [train.count, val.count],
    }
