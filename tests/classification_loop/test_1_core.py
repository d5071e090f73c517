"""Stage 1. One epoch, evaluation, fit."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from dojo.testing import expect, expect_close, expect_equal, randint
from katas.classification_loop import fit, train_one_epoch

from .helpers import BOTH, Echo, Script, expect_number, first_logit, fitted, loader, one_pass, uneven


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


@BOTH
def test_the_loss_is_the_mean_over_samples(rng, which):
    """Batches of 4, 4 and 1: in the mean of the three batch means the last row would weigh four times as much."""
    logits, targets = uneven(rng)
    result = one_pass(which, Echo(), loader(logits, targets))
    hint = "weigh each batch's mean loss by its number of samples, and divide by the number of samples at the end"
    expect_number(result.loss, cross_entropy(logits, targets), f"{which}'s loss over batches of 4, 4 and 1", hint)


@BOTH
def test_the_accuracy_is_the_fraction_of_rows_whose_largest_logit_is_the_target(which):
    """5 of 7 rows, in batches of 3, 3 and 1. With 3 classes and 3 rows the wrong dimension raises nothing, and
    comparing (B, 1) with (B,) gives B x B answers instead of B."""
    targets, largest = torch.tensor([1, 1, 2, 0, 0, 2, 1]), torch.tensor([1, 1, 2, 0, 2, 2, 0])
    logits = 2.0 * one_hot(largest, 3) - 3.0 + torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)
    result = one_pass(which, Echo(), loader(logits, targets, batch_size=3))
    hint = "argmax over dim 1, compared with targets of the same shape (B,); count over all batches, then divide once"
    expect_number(result.accuracy, 5 / 7, f"{which}'s accuracy with 5 of 7 rows right", hint)


def test_training_reports_the_passes_that_it_trained_on():
    """The loss is 5 before the first step, 3 before the second, -2 before the third; rows 4, 4, 1. Measuring after the
    step, or in a second pass, describes another model and costs twice."""
    model, tables = Script(), torch.tensor([[5.0, 3.0, -2.0, 7.0]], dtype=torch.float64).expand(9, -1)
    batches = loader(tables, torch.zeros(9).long())
    result = train_one_epoch(model, batches, first_logit, SGD(model.parameters(), lr=1.0), "cpu")
    hint = "use the loss and the logits of the forward pass that you call backward on"
    expect_number(result.loss, (4 * 5 + 4 * 3 - 2) / 9, "the training loss", hint)
    expect_number(result.accuracy, 8 / 9, "the training accuracy", hint)


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


@BOTH
def test_results_are_python_floats(rng, which):
    """A tensor in the result keeps device memory alive, prints badly and does not go into JSON."""
    for name, value in one_pass(which, Echo(), loader(*uneven(rng)))._asdict().items():
        found = f"{which}'s {name} should be a float, but is a {type(value).__name__}"
        expect(isinstance(value, float), found, hint="float(total), or total.item(), once at the end")


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


def test_fit_ends_with_the_weights_of_the_lowest_validation_loss():
    """Epoch 2 wins, though accuracy is best in epoch 1, and the training loss in epoch 4."""
    model, _, history = fitted([[4.0, 4.0], [5.0, -1.0], [11.0, -1.0], [7.0, -1.0]])
    expect_equal(len(history), 4, what="the number of entries")
    what = "the epoch whose weights the model has after fit, with validation losses 4, 2, 5, 3,"
    hint = "the lowest val_loss decides, nothing else; deepcopy the state_dict() then (it follows the live weights) and load it at the end"
    expect_equal(model.weight.item(), 2.0, what=what, hint=hint)


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
