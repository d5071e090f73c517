"""What any right training loop does. Batches are uneven and their losses far apart, so that no average hides."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from dojo.testing import (
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randint,
    randn,
)
from katas.classification_loop import evaluate, fit, train_one_epoch

NAN, INF = float("nan"), float("inf")
BOTH = pytest.mark.parametrize("which", ["train_one_epoch", "evaluate"])


@pytest.fixture(autouse=True)
def grad_mode():
    """A loop that leaves gradients switched off must not spoil the tests after it."""
    with torch.enable_grad():
        yield


class Echo(nn.Module):
    """Its inputs are its logits, times a weight of 1. It notes the mode of every forward pass."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=dtype))
        self.modes = []

    def forward(self, inputs):
        self.modes.append("train" if self.training else "eval")
        return inputs * self.weight


class Script(nn.Module):
    """Its weight counts the steps of SGD(lr=1). Inputs are tables: what the loss shall be after 0, 1, 2, ... steps."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.register_buffer("statistic", torch.zeros((), dtype=torch.float64))  # as BatchNorm keeps some

    def forward(self, table):
        steps = self.weight.detach()
        if self.training:
            self.statistic += 1
        now = table[:, min(int(steps), table.shape[1] - 1)]
        first = now + steps - self.weight  # the table's number, with gradient -1
        return torch.stack([first, torch.zeros_like(first)], 1)


def first_logit(logits, targets):
    return logits[:, 0].mean()


def loader(inputs, targets, batch_size=4, **options):
    return DataLoader(TensorDataset(inputs, targets), batch_size, **options)


def one_pass(which, model, batches, loss_fn=cross_entropy):
    """Either function; training gets a learning rate of 0, so that both see the same model."""
    if which == "evaluate":
        return evaluate(model, batches, loss_fn, "cpu")
    return train_one_epoch(model, batches, loss_fn, SGD(model.parameters(), lr=0.0), "cpu")


def expect_number(actual, expected, what, hint):
    """Within 1e-5: a running sum in float32 is fine."""
    expect_close(torch.tensor(float(actual)), torch.tensor(float(expected)), what=what, hint=hint, rtol=1e-5, atol=1e-6)


def uneven(rng):
    """Batches of 4, 4 and 1; the last row is badly wrong, so that its loss is far from the others'."""
    logits, targets = randn(rng, 9, 3), randint(rng, 0, 3, 9)
    logits[8, targets[8]] -= 20
    return logits, targets


def fitted(val, train=None):
    """`fit` on Script, one training batch per epoch; row e of `val` holds the validation losses after epoch e + 1."""
    model, val = Script(), torch.tensor(val, dtype=torch.float64)
    epochs, rows = val.shape
    val = torch.cat([torch.full((rows, 1), 9.0), val.T], 1)
    train = torch.tensor([train or [float(epochs - e) for e in range(epochs)]], dtype=torch.float64)
    optimizer = SGD(model.parameters(), lr=1.0)
    batches = loader(train, torch.zeros(1).long()), loader(val, torch.zeros(rows).long())
    return model, optimizer, fit(model, *batches, first_logit, optimizer, epochs=epochs)


# Stage 1: one epoch, evaluation, fit


@pytest.mark.stage(1)
def test_five_steps_of_sgd_contract_the_error_as_the_algebra_says(rng):
    """With a squared error W - W* is multiplied by (I - lr X'X/n) at each step: five batches, five factors, exactly."""
    x = torch.tensor([[1.0, 0, 2], [0, 1, -1], [1, 1, 0], [2, -1, 1]], dtype=torch.float64)
    targets = torch.tensor([1, 0, 1, 0])
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    start = model.weight.detach().clone()
    best = torch.linalg.lstsq(x, one_hot(targets).double()).solution.T
    factor = torch.linalg.matrix_power(torch.eye(3) - 0.2 * x.T @ x / 4, 5)

    def half_squared_error(logits, targets):
        return (logits - one_hot(targets, 2)).square().sum(1).mean() / 2

    batches = loader(x.repeat(5, 1), targets.repeat(5))
    train_one_epoch(model, batches, half_squared_error, SGD(model.parameters(), lr=0.2), "cpu")
    hint = "for every batch: clear the gradients, backward, step; nothing of one batch's gradient may reach the next"
    expect_close(model.weight, best + (start - best) @ factor, what="the weights after five steps", hint=hint)


@pytest.mark.stage(1)
def test_each_batch_moves_the_weights_by_its_own_mean_gradient(rng):
    """Batch b has only feature b, so it alone moves column b. The last batch has 1 row instead of 4 and counts as much
    as any other step: neither dropped nor scaled by its size."""
    sizes, scale = torch.tensor([4, 4, 4, 4, 1]), torch.tensor([1.0, -2.0, 0.5, 3.0, 2.0], dtype=torch.float64)
    member = one_hot(torch.arange(5).repeat_interleave(sizes)).double()  # (17, 5): which batch a row is in
    targets = randint(rng, 0, 3, 17)
    model = nn.Linear(5, 3, bias=False, dtype=torch.float64)
    start = model.weight.detach().clone()

    def negative_target_logit(logits, targets):
        return -logits.gather(1, targets[:, None]).mean()

    optimizer = SGD(model.parameters(), lr=0.1)
    train_one_epoch(model, loader(member * scale, targets), negative_target_logit, optimizer, "cpu")
    shares = one_hot(targets, 3).double().T @ member / sizes  # (3, 5): the share of each class in each batch
    what = "the weights after batches of 4, 4, 4, 4 and 1 rows"
    hint = "one step per batch, on its own gradient: nothing left of the batch before, none skipped, no factor"
    expect_close(model.weight, start + 0.1 * scale * shares, what=what, hint=hint)


@pytest.mark.stage(1)
@BOTH
def test_the_loss_is_the_mean_over_samples(rng, which):
    """Batches of 4, 4 and 1: in the mean of the three batch means the last row would weigh four times as much."""
    logits, targets = uneven(rng)
    result = one_pass(which, Echo(), loader(logits, targets))
    hint = "weigh each batch's mean loss by its number of samples, and divide by the number of samples at the end"
    expect_number(result.loss, cross_entropy(logits, targets), f"{which}'s loss over batches of 4, 4 and 1", hint)


@pytest.mark.stage(1)
@BOTH
def test_the_accuracy_is_the_fraction_of_rows_whose_largest_logit_is_the_target(which):
    """5 of 7 rows, in batches of 3, 3 and 1. With 3 classes and 3 rows the wrong dimension raises nothing, and
    comparing (B, 1) with (B,) gives B x B answers instead of B."""
    targets, largest = torch.tensor([1, 1, 2, 0, 0, 2, 1]), torch.tensor([1, 1, 2, 0, 2, 2, 0])
    logits = 2.0 * one_hot(largest, 3) - 3.0 + torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)
    result = one_pass(which, Echo(), loader(logits, targets, batch_size=3))
    hint = "argmax over dim 1, compared with targets of the same shape (B,); count over all batches, then divide once"
    expect_number(result.accuracy, 5 / 7, f"{which}'s accuracy with 5 of 7 rows right", hint)


@pytest.mark.stage(1)
def test_training_reports_the_passes_that_it_trained_on():
    """The loss is 5 before the first step, 3 before the second, -2 before the third; rows 4, 4, 1. Measuring after the
    step, or in a second pass, describes another model and costs twice."""
    model, tables = Script(), torch.tensor([[5.0, 3.0, -2.0, 7.0]], dtype=torch.float64).expand(9, -1)
    batches = loader(tables, torch.zeros(9).long())
    result = train_one_epoch(model, batches, first_logit, SGD(model.parameters(), lr=1.0), "cpu")
    hint = "use the loss and the logits of the forward pass that you call backward on"
    expect_number(result.loss, (4 * 5 + 4 * 3 - 2) / 9, "the training loss", hint)
    expect_number(result.accuracy, 8 / 9, "the training accuracy", hint)


@pytest.mark.stage(1)
@BOTH
def test_the_loss_function_sees_the_logits_as_they_are(rng, which):
    """Cross-entropy applies log-softmax itself: a softmax before it still trains, slowly and badly, without an error."""
    logits, targets = uneven(rng)
    seen = []

    def spy(outputs, labels):
        seen.append((outputs.detach(), labels))
        return cross_entropy(outputs, labels)

    one_pass(which, Echo(), loader(logits, targets), spy)
    hint = "call loss_fn(logits, targets) on what the model returned: no softmax, no argmax"
    expect_close(torch.cat([o for o, _ in seen]), logits, what="what loss_fn got first", hint=hint)
    expect_close(torch.cat([t for _, t in seen]), targets, what="what loss_fn got second", hint=hint)


@pytest.mark.stage(1)
@BOTH
def test_results_are_python_floats(rng, which):
    """A tensor in the result keeps device memory alive, prints badly and does not go into JSON."""
    for name, value in one_pass(which, Echo(), loader(*uneven(rng)))._asdict().items():
        found = f"{which}'s {name} should be a float, but is a {type(value).__name__}"
        expect(isinstance(value, float), found, hint="float(total), or total.item(), once at the end")


@pytest.mark.stage(1)
def test_fit_reports_one_line_per_epoch():
    """Epochs count from 1; training is measured on the training loader, validation on the other one."""
    _, _, history = fitted([[3.0, 2.0], [1.0, -2.0], [-1.0, -3.0]], train=[6.0, 5.0, -4.0])
    want = {
        "epoch": [1, 2, 3],
        "train_loss": [6.0, 5.0, -4.0],
        "train_accuracy": [1.0, 1.0, 0.0],
        "val_loss": [2.5, -0.5, -2.0],
        "val_accuracy": [1.0, 0.5, 0.0],
        "lr": [1.0, 1.0, 1.0],
    }
    expect_equal([sorted(entry) for entry in history], [sorted(want)] * 3, what="the keys of the three entries")
    kinds = {type(value).__name__ for entry in history for value in entry.values()}
    hint = "an entry goes into JSON or a table as it is: float(...), or .item()"
    expect_equal(sorted(kinds - {"int", "float"}), [], what="the types in the history besides int and float", hint=hint)
    hint = "epochs from 1; train_* from train_one_epoch on train_loader, val_* from evaluate on val_loader"
    for key, values in want.items():
        got = torch.tensor([float(entry[key]) for entry in history])
        expect_close(got, torch.tensor(values).to(got), what=f"{key!r} over three epochs", hint=hint)


@pytest.mark.stage(1)
def test_fit_ends_with_the_weights_of_the_lowest_validation_loss():
    """Epoch 2 wins, though accuracy is best in epoch 1, and the training loss in epoch 4."""
    model, _, history = fitted([[4.0, 4.0], [5.0, -1.0], [11.0, -1.0], [7.0, -1.0]])
    expect_equal(len(history), 4, what="the number of entries")
    what = "the epoch whose weights the model has after fit, with validation losses 4, 2, 5, 3,"
    hint = "the lowest val_loss decides, nothing else; deepcopy the state_dict() then (it follows the live weights) and load it at the end"
    expect_equal(model.weight.item(), 2.0, what=what, hint=hint)


@pytest.mark.stage(1)
def test_the_scheduler_steps_once_per_epoch_after_the_optimizer(rng):
    """Three batches, three epochs, halving: all steps of an epoch have one rate, and the first epoch the full one."""
    model, used, batches = Echo(), [], loader(*uneven(rng))
    other = nn.Parameter(torch.zeros(()))  # the history shows the first group's rate
    optimizer = SGD([{"params": model.parameters()}, {"params": [other], "lr": 0.05}], lr=0.4)
    optimizer.register_step_pre_hook(lambda *_: used.append(optimizer.param_groups[0]["lr"]))
    calls = []

    class Noted(StepLR):
        def step(self, *args, **kwargs):
            calls.append((args, kwargs))
            super().step()

    scheduler = Noted(optimizer, step_size=1, gamma=0.5)
    calls.clear()  # a scheduler's constructor takes a step of its own

    def high_loss(logits, targets):  # no loss is an epoch's number, should someone hand it to the scheduler
        return cross_entropy(logits, targets) + 5

    history = fit(model, batches, batches, high_loss, optimizer, epochs=3, scheduler=scheduler)
    rates = torch.tensor([0.4, 0.2, 0.1])
    hint = "scheduler.step(), without arguments, once at the end of each epoch"
    expect_close(torch.tensor(used), rates.repeat_interleave(3), what="the rates of the nine steps", hint=hint)
    hint = "read optimizer.param_groups[0]['lr'] before the scheduler changes it"
    expect_close(torch.tensor([h["lr"] for h in history]), rates, what="'lr' in the history", hint=hint)
    hint = "scheduler.step() after every epoch, the last one included: whoever trains on continues with the next rate"
    expect_equal(calls, [((), {})] * 3, what="the arguments of scheduler.step's calls in three epochs", hint=hint)


# Stage 2: modes, loaders, what is restored


@pytest.mark.stage(2)
@pytest.mark.parametrize("before", ["train", "eval"])
def test_evaluate_runs_in_eval_mode_and_gives_the_mode_back(rng, before):
    """Dropout and BatchNorm behave otherwise in training. A model left in eval mode trains without both from then on."""
    model = nn.Sequential(Echo(), nn.Dropout(0.5)).train(before == "train")
    evaluate(model, loader(*uneven(rng)), cross_entropy, "cpu")
    expect_equal(set(model[0].modes), {"eval"}, what="the mode during evaluate", hint="model.eval() first")
    after = ["train" if module.training else "eval" for module in model.modules()]
    hint = "remember what was before eval() and set that again: not always train, not always eval"
    expect_equal(after, [before] * 3, what=f"the modes after evaluate on a model in {before} mode", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("before", ["train", "eval"])
def test_evaluate_gives_every_submodule_its_mode_back(rng, before):
    """Fine-tuning keeps pretrained BatchNorms in eval mode within a model that trains: model.train(...) at the end
    would set them going again."""
    frozen = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    model = nn.Sequential(Echo(), frozen).train(before == "train")
    frozen[1].train(before == "eval")
    want = [module.training for module in model.modules()]
    evaluate(model, loader(*uneven(rng)), cross_entropy, "cpu")
    expect_equal(set(model[0].modes), {"eval"}, what="the mode during evaluate", hint="model.eval() first")
    hint = "remember the mode of every one of model.modules() and set each one's `training` again"
    after = [module.training for module in model.modules()]
    expect_equal(after, want, what="`training` of the submodules after evaluate", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("before", ["train", "eval"])
def test_training_runs_in_train_mode(rng, before):
    """Whoever evaluated last may have left the model in eval mode: the epoch sets its own mode."""
    model = nn.Sequential(Echo(), nn.Dropout(0.5)).train(before == "train")
    one_pass("train_one_epoch", model, loader(*uneven(rng)))
    expect_equal(set(model[0].modes), {"train"}, what="the mode during training", hint="model.train() at the start")
    expect(model.training, "the model should be left in train mode, but is in eval mode")


@pytest.mark.stage(2)
def test_evaluation_changes_nothing(rng):
    """It may be called in the middle of a run, even between backward and step: no BatchNorm statistic moves, and no
    gradient is cleared."""
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3)).double()
    model[0].running_mean.copy_(randn(rng, 3))
    for parameter in model.parameters():
        parameter.grad = randn(rng, *parameter.shape)
    model[1].weight.requires_grad_(False)  # as in fine-tuning
    state = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
    with expect_unchanged(*state, what="the model", hint="eval mode, and neither zero_grad nor backward in evaluate"):
        evaluate(model, loader(*uneven(rng), batch_size=3), cross_entropy, "cpu")
    expect(all(p.grad is not None for p in model.parameters()), "gradients should survive evaluate, but are None")
    trains = [p.requires_grad for p in model.parameters()]
    hint = "no_grad needs no requires_grad_(False), and turning it on again thaws what was frozen"
    expect_equal(trains, [True, True, False, True], what="requires_grad of the parameters after evaluate", hint=hint)


@pytest.mark.stage(2)
@BOTH
def test_a_batch_with_a_nan_loss_counts_like_any_other(which):
    """Skipping it hides that the training has diverged. Five rows in batches of 4 and 1: the last is wrong, its loss NaN."""
    inputs, targets = one_hot(torch.tensor([0, 0, 0, 0, 2]), 3).double(), torch.tensor([0, 0, 0, 0, 1])

    def loss_fn(logits, labels):
        return torch.where(labels == 1, NAN, logits[:, 0]).mean()

    result = one_pass(which, Echo(), loader(inputs, targets), loss_fn)
    hint = "no batch is left out, whatever its loss"
    expect(result.loss != result.loss, f"the loss with one NaN batch should be nan, but is {result.loss}", hint=hint)
    expect_number(
        result.accuracy, 0.8, what="the accuracy with one wrong row of five, in a batch of NaN loss", hint=hint
    )


class OnHost(Tensor):
    """A tensor that nobody has moved yet: `.to(device)` gives a plain one, any other operation marks its result."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        moved = func is Tensor.to and any(isinstance(a, str | torch.device) for a in [*args, *(kwargs or {}).values()])
        return out.as_subclass(Tensor) if moved else out


@pytest.mark.stage(2)
@BOTH
def test_inputs_and_targets_are_moved_to_the_device(rng, which):
    """Loaders deliver on the CPU. Without a GPU, a forgotten `.to(device)` shows nowhere but here."""
    logits, targets = (t.as_subclass(OnHost) for t in uneven(rng))
    model, left = Echo(), set()
    model.register_forward_pre_hook(lambda _, args: left.add("inputs") if isinstance(args[0], OnHost) else None)

    def spy(outputs, labels):
        left.update({"targets"} if isinstance(labels, OnHost) else ())
        return cross_entropy(outputs, labels)

    one_pass(which, model, loader(logits, targets), spy)
    hint = (
        "x = x.to(device), for the inputs and for the targets (it returns the moved tensor, it moves nothing in place)"
    )
    expect_equal(sorted(left), [], what=f"what {which} left where the loader put it", hint=hint)


@pytest.mark.stage(2)
def test_fit_moves_batches_to_the_device_that_it_is_given(rng):
    """Only a GPU would show that fit hands on another device than its own argument; here "cpu:0" stands for one."""
    moved = set()

    class LiveRun(Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is Tensor.to:
                values = [*args[1:], *(kwargs or {}).values()]
                moved.update(str(value) for value in values if isinstance(value, str | torch.device))
            out = super().__torch_function__(func, types, args, kwargs or {})
            return out.as_subclass(Tensor) if func is Tensor.to else out

    model, batches = Echo(), [tuple(t.as_subclass(LiveRun) for t in uneven(rng))]
    fit(model, batches, batches, cross_entropy, SGD(model.parameters(), lr=0.1), epochs=1, device="cpu:0")
    hint = "hand `device` on to train_one_epoch and to evaluate"
    expect_equal(moved, {"cpu:0"}, what='where fit(..., device="cpu:0") moved its batches', hint=hint)


@pytest.mark.stage(2)
@BOTH
def test_inputs_reach_the_model_in_their_own_shape(rng, which):
    """Pictures for a convolution, token ids for a language model: flattening is the model's business."""
    shapes = []
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)).double()
    model.register_forward_pre_hook(lambda _, args: shapes.append(list(args[0].shape)))
    hint = "model(inputs): no view, no flatten"
    try:
        one_pass(which, model, [(randn(rng, 5, 1, 4, 4), randint(rng, 0, 3, 5))])
    except RuntimeError:
        if not shapes:
            raise
    expect_equal(shapes, [[5, 1, 4, 4]], what="the shape of what the model was given", hint=hint)


@pytest.mark.stage(2)
def test_the_loop_draws_nothing_at_random(rng):
    """A seed set in the loop gives every epoch the same dropout masks and the same order. Only the loader and the model
    draw, and these do not."""
    model, batches = Echo(), list(loader(*uneven(rng)))
    hint = "no torch.manual_seed: seeding is the caller's business"
    with expect_rng_untouched(what="fit", hint=hint):
        fit(model, batches, batches, cross_entropy, SGD(model.parameters(), lr=0.1), epochs=2)
    for which in ("train_one_epoch", "evaluate"):
        with expect_rng_untouched(what=which, hint=hint):
            one_pass(which, model, batches)


@pytest.mark.stage(2)
@BOTH
@pytest.mark.parametrize(("option", "rows"), [({"drop_last": True}, range(8)), ({"sampler": range(3, 9)}, range(3, 9))])
def test_means_are_over_the_samples_that_were_seen(rng, which, option, rows):
    """`len(loader.dataset)` is the wrong divisor as soon as the loader drops the last batch or samples a subset."""
    logits, targets = uneven(rng)
    result = one_pass(which, Echo(), loader(logits, targets, **option))
    logits, targets = logits[list(rows)], targets[list(rows)]
    what, hint = (
        f"over {len(rows)} of 9 samples",
        "count the targets of the batches as they come; do not ask the dataset",
    )
    expect_number(result.loss, cross_entropy(logits, targets), f"{which}'s loss {what}", hint)
    expect_number(result.accuracy, (logits.argmax(1) == targets).double().mean(), f"{which}'s accuracy {what}", hint)


class Stream(IterableDataset):
    """Rows without a known length, as from a socket."""

    def __init__(self, *columns):
        self.columns = columns

    def __iter__(self):
        return zip(*self.columns, strict=True)


@pytest.mark.stage(2)
@BOTH
def test_a_loader_need_not_know_its_length(rng, which):
    """An IterableDataset has no len(), and its loader has none either."""
    logits, targets = uneven(rng)
    hint = "count samples while they pass; do not call len(loader)"
    try:
        result = one_pass(which, Echo(), DataLoader(Stream(logits, targets), batch_size=4))
    except TypeError as error:
        expect(False, f"{which} should accept a loader without a length, but: {error}", hint=hint)
    expect_number(result.loss, cross_entropy(logits, targets), f"{which}'s loss over a stream", hint)


@pytest.mark.stage(2)
@BOTH
def test_a_loader_may_be_a_stream_that_passes_once(rng, which):
    """Looking for the first batch, or counting them, uses up what comes from a socket or a generator."""
    logits, targets = uneven(rng)
    batches = loader(logits, targets)
    hint = "one loop over the loader, and nothing before it: whether it was empty shows afterwards"
    try:
        result = one_pass(which, Echo(), (batch for batch in batches))
    except (ValueError, ZeroDivisionError, StopIteration) as error:
        expect(False, f"{which} should use every batch of a generator, but: {error}", hint=hint)
    expect_number(result.loss, cross_entropy(logits, targets), f"{which}'s loss over a generator", hint)


@pytest.mark.stage(2)
def test_the_losss_own_parameters_start_each_batch_afresh(rng):
    """A learned temperature or margin is in the optimizer but not in the model: model.zero_grad() does not reach it."""
    logits, targets = uneven(rng)
    model, factor = Echo(), nn.Parameter(torch.zeros((), dtype=torch.float64))

    def loss_fn(outputs, labels):
        return factor * outputs[:, 0].mean()

    optimizer = SGD([{"params": model.parameters(), "lr": 0.0}, {"params": [factor], "lr": 1.0}], lr=0.0)
    train_one_epoch(model, loader(logits, targets), loss_fn, optimizer, "cpu")
    want = -sum(part[:, 0].mean() for part in logits.split(4))  # dL/dfactor is its batch's mean
    hint = "optimizer.zero_grad() clears all that the optimizer holds; model.zero_grad() only what is the model's"
    expect_close(factor, want, what="a parameter of the loss after three steps", hint=hint)


@pytest.mark.stage(2)
@BOTH
def test_an_empty_loader_is_an_error(which):
    """There is no mean of nothing. 0.0 would look like a perfect loss, and NaN would spread in silence."""
    with expect_raises(
        ValueError, what=f"{which} on an empty loader", hint="raise it when the loop has seen no sample"
    ):
        one_pass(which, Echo(), [])


@pytest.mark.stage(2)
@pytest.mark.parametrize("epochs", [0, -1])
def test_fit_needs_at_least_one_epoch(rng, epochs):
    """An empty history would hide a wrong configuration until something indexes it."""
    model, batches = Echo(), loader(*uneven(rng))
    with expect_raises(ValueError, what=f"fit(epochs={epochs})"):
        fit(model, batches, batches, cross_entropy, SGD(model.parameters(), lr=0.1), epochs=epochs)


class Passes(list):
    """A list of batches that counts how often it is iterated over."""

    count = 0

    def __iter__(self):
        self.count += 1
        return super().__iter__()


@pytest.mark.stage(2)
def test_every_epoch_is_one_pass_over_each_loader(rng):
    """A loader shuffles and augments anew in each pass: batches kept from the first epoch never change again."""
    model, batches = Echo(), list(loader(*uneven(rng)))
    train, val = Passes(batches), Passes(batches[:2])
    fit(model, train, val, cross_entropy, SGD(model.parameters(), lr=0.1), epochs=3)
    what, hint = "passes over (train_loader, val_loader) in 3 epochs", "loop over the loader itself, once per epoch"
    expect_equal((train.count, val.count), (3, 3), what=what, hint=hint)
    hint = "train_one_epoch then evaluate, nothing else; train mode must come back after evaluation"
    modes = "".join(mode[0] for mode in model.modes)
    expect_equal(modes, "tttee" * 3, what="the modes (train, eval) of the forward passes", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 1.0, 1.0, 2.0], 2),
        ([1.0, 2.0, 1.0], 1),
        ([5.0, 4.0, 3.0], 3),
        ([2.0], 1),
        ([NAN, 2.0, 1.0, NAN], 3),
        ([NAN, NAN], 2),
        ([INF, INF, INF], 3),
        ([INF, 2.0, INF], 2),
        ([INF, NAN], 2),
        ([4.0, -INF, 1.0], 2),
        ([1.0, *[2.0] * 11], 1),
        ([2.0, 1.99999, 3.0], 2),
        ([1e12, 1e10, 1e11], 2),
    ],
    ids=str,
)
def test_the_first_lowest_loss_wins_and_nan_never_does(losses, best):
    """`<=` takes the last of equals. A NaN kept as the first best is never beaten: every comparison with it is false.
    With nothing but NaN and +inf the last epoch's weights stay, and fit still returns its history. Lower is lower,
    however little and from whatever height."""
    try:
        model, _, history = fitted([[loss] for loss in losses])
    except (TypeError, AttributeError, AssertionError, ValueError, UnboundLocalError) as error:
        hint = "there may be no best epoch: load the best state only if there is one"
        expect(False, f"fit should return after validation losses {losses}, but: {error}", hint=hint)
    expect_equal(len(history), len(losses), what="the number of entries", hint="fit does not stop early")
    what = f"the epoch whose weights remain after validation losses {losses}"
    hint = "start from infinity and replace only by what is strictly lower: then NaN and +inf never win"
    expect_equal(model.weight.item(), float(best), what=what, hint=hint)


@pytest.mark.stage(2)
def test_buffers_are_restored_with_the_weights():
    """BatchNorm's running statistics belong to the weights they were computed with. The statistic here counts batches."""
    model, _, _ = fitted([[3.0], [1.0], [2.0], [2.0]])
    hint = "save and load the whole state_dict, not only parameters()"
    expect_equal(model.statistic.item(), 2.0, what="the buffer after fit, with epoch 2 best,", hint=hint)


@pytest.mark.stage(2)
def test_the_optimizer_still_trains_the_model_after_fit():
    """Weights that are replaced rather than copied into leave the optimizer with tensors that no model uses."""
    model, optimizer, _ = fitted([[3.0], [1.0], [2.0]])
    train_one_epoch(model, loader(torch.zeros(1, 9).double(), torch.zeros(1).long()), first_logit, optimizer, "cpu")
    hint = "model.load_state_dict(best) copies in place; assign=True and new Parameters do not"
    expect_equal(model.weight.item(), 3.0, what="the weight one step after fit, with epoch 2 best,", hint=hint)


# Stage 3: graphs and dtypes


@pytest.mark.stage(3)
def test_evaluation_builds_no_graph(rng):
    """eval() only changes layers; it is no_grad that saves the memory of the activations."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    saved, attached = [], []

    def spy(outputs, labels):
        attached.append(outputs.requires_grad)
        return cross_entropy(outputs, labels)

    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        evaluate(model, loader(*uneven(rng)), spy, "cpu")
    hint = "run the passes under torch.no_grad() or torch.inference_mode(); model.eval() does not do that"
    expect(not any(attached), "the logits in evaluate should not require gradients, but do", hint=hint)
    expect_equal(len(saved), 0, what="the number of tensors that evaluate saved for backward", hint=hint)
    expect(torch.is_grad_enabled(), "evaluate should leave gradients enabled, but left them off", hint="use `with`")


@pytest.mark.stage(3)
@pytest.mark.parametrize("before", [True, False], ids=["gradients on", "gradients off"])
def test_evaluate_gives_the_gradient_mode_back(rng, before):
    """The caller may have switched gradients off for a whole script; switching them on by hand at the end undoes that."""
    with torch.set_grad_enabled(before):
        evaluate(Echo(), loader(*uneven(rng)), cross_entropy, "cpu")
        after = torch.is_grad_enabled()
    hint = "`with torch.no_grad():` restores what was; torch.set_grad_enabled(True) does not"
    expect_equal(after, before, what=f"torch.is_grad_enabled() after evaluate, {before} before,", hint=hint)


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


@pytest.mark.stage(3)
def test_no_graph_outlives_its_step(rng):
    """`total += loss` keeps the graph of every batch until the epoch ends: memory grows batch by batch. The previous
    batch may still be alive while the next one runs, nothing older."""
    model, living, counts = Echo(), weakref.WeakSet(), []

    def traced(outputs, labels):
        counts.append(len(living))
        return cross_entropy(Traced.apply(outputs, living), labels)

    result = one_pass("train_one_epoch", model, loader(*uneven(rng), batch_size=1), traced)
    gc.collect(1)
    hint = "add loss.item() or loss.detach() to the running sum, never the loss itself"
    expect(max(counts) <= 1, f"at most 1 older graph should live during a batch, but there were {counts}", hint=hint)
    expect(not living, f"no graph should live after the epoch, but {len(living)} do", hint=hint)
    expect(not isinstance(result.loss, Tensor), "the result should hold no tensor, but its loss is one", hint=hint)


@pytest.mark.stage(3)
@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("rows", "batches"), [(4096, 2), (1, 600)])
def test_half_precision_sums_neither_overflow_nor_stall(which, dtype, rows, batches):
    """The loss is 20 in every row. In float16, 4096 rows sum to 81920 > 65504; in bfloat16 a sum of 600 equal terms
    stops growing at 256, a count of right answers too. The loss's tolerance is that of one bfloat16 number."""
    batch = torch.tensor([[20.0, 0.0]]).repeat(rows, 1).to(dtype), (torch.arange(rows) % 3 == 2).long()
    result = one_pass(which, Echo(dtype), [batch] * batches, first_logit)
    got, want, what = (
        torch.tensor(float(result.loss)),
        torch.tensor(20.0),
        f"{which}'s loss over {batches} {dtype} batches",
    )
    hint = "leave half precision before you multiply or add: loss.detach().float() * n, or loss.item() * n"
    expect_close(got, want, what=what, hint=hint, rtol=1e-2, atol=0.0)
    right, hint = (batch[1] == 0).double().mean(), "count in integers: (logits.argmax(1) == targets).sum()"
    expect_number(result.accuracy, right, f"{which}'s accuracy over {batches} {dtype} batches of {rows}", hint)


# Stage 4: cost, and real data


def mlp():
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def images(rng):
    return [(randn(rng, n, 64, dtype=torch.float32), randint(rng, 0, 10, n)) for n in (64, 64, 64, 7)]


@pytest.mark.stage(4)
@BOTH
def test_one_forward_per_batch(rng, which):
    """A second pass for the accuracy doubles the cost of evaluation, and moves BatchNorm's statistics twice a step."""
    model = Echo()
    one_pass(which, model, loader(*uneven(rng)))
    expect_equal(len(model.modes), 3, what="forward passes for 3 batches", hint="loss and accuracy share their logits")


@pytest.mark.stage(4)
def test_training_costs_three_forwards(rng, cost):
    """Backward takes two products for each one of forward, except that the inputs need no gradient: 2.1x here. Anything
    beyond 3 is a pass that was not needed."""
    model, batches = mlp(), images(rng)
    with cost() as forward:
        for inputs, _ in batches:
            model(inputs)
    with cost() as spent:
        one_pass("train_one_epoch", model, batches)
    ratio, hint = spent.flops / forward.flops, "one forward and one backward per batch"
    expect(1 < ratio <= 3, f"an epoch should cost at most 3 forward passes' FLOPs, but costs {ratio:.2f}", hint=hint)


@pytest.mark.stage(4)
def test_evaluation_allocates_what_the_forward_needs(rng, cost):
    """The reference allocates 1.00x what the bare passes do, collecting all logits first 1.03x, a second pass 2x."""
    model, batches = mlp(), images(rng)
    with torch.no_grad(), cost() as needed:
        for inputs, targets in batches:
            cross_entropy(model(inputs), targets)
    with cost() as spent:
        evaluate(model, batches, cross_entropy, "cpu")
    ratio, hint = spent.allocated / needed.allocated, "an argmax and a comparison are all that the accuracy adds"
    expect(ratio >= 1, f"the passes should be torch's, but only {ratio:.2f} of their memory was seen")
    expect(
        ratio <= 1.25, f"evaluate should allocate at most 1.25x a bare forward, but allocates {ratio:.2f}x", hint=hint
    )


@pytest.mark.stage(4)
@BOTH
def test_numbers_are_not_read_sample_by_sample(rng, cost, which):
    """On a GPU every .item() waits. Once per epoch is best, twice per batch is common, 199 times is a loop over samples."""
    model, batches = mlp(), images(rng)
    with cost() as spent:
        one_pass(which, model, batches)
    reads, hint = spent.calls["aten._local_scalar_dense"], "(logits.argmax(1) == targets).sum() counts a whole batch"
    expect(spent.flops > 0, "the passes should be torch's, but no work was seen")
    expect(reads <= 8 * len(batches), f"4 batches should read at most 32 numbers, but read {reads}", hint=hint)


@pytest.mark.stage(4)
def test_it_learns_handwritten_digits(seed):
    """Every fifth of scikit-learn's 1797 digits is held out. Over 200 seeds the reference reached 0.956 to 0.981; over
    20, softmax before the loss reached 0.85 to 0.93, one step per epoch 0.66 to 0.84, no zero_grad 0.07 to 0.45."""
    from sklearn.datasets import load_digits

    pixels, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    held_out = torch.arange(len(labels)) % 5 == 0
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    pixels = pixels.float() / 16
    train = loader(pixels[~held_out], labels[~held_out], batch_size=64, shuffle=True)
    val = loader(pixels[held_out], labels[held_out], batch_size=250)
    fit(model, train, val, cross_entropy, SGD(model.parameters(), lr=0.1, momentum=0.9), epochs=12)
    accuracy = (model(pixels[held_out]).argmax(1) == labels[held_out]).double().mean().item()
    hint = "does every step use fresh gradients, raw logits and train mode? is it the best epoch's weights that remain?"
    expect(accuracy >= 0.95, f"held-out accuracy should reach 0.95, but is {accuracy:.3f}", hint=hint)
