"""Stage 2. Modes, loaders, what is restored."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import SGD
from torch.utils.data import DataLoader

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

from .helpers import BOTH, Echo, OnHost, Passes, Stream, expect_number, first_logit, fitted, loader, one_pass, uneven

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("before", ["train", "eval"])
def test_evaluate_runs_in_eval_mode_and_gives_the_mode_back(rng, before):
    """Dropout and BatchNorm behave otherwise in training. A model left in eval mode trains without both from then on."""
    model = nn.Sequential(Echo(), nn.Dropout(0.5)).train(before == "train")
    evaluate(model, loader(*uneven(rng)), cross_entropy, "cpu")
    expect_equal(set(model[0].modes), {"eval"}, what="the mode during evaluate", hint="model.eval() first")
    after = ["train" if module.training else "eval" for module in model.modules()]
    hint = "remember what was before eval() and set that again: not always train, not always eval"
    expect_equal(after, [before] * 3, what=f"the modes after evaluate on a model in {before} mode", hint=hint)


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


@pytest.mark.parametrize("before", ["train", "eval"])
def test_training_runs_in_train_mode(rng, before):
    """Whoever evaluated last may have left the model in eval mode: the epoch sets its own mode."""
    model = nn.Sequential(Echo(), nn.Dropout(0.5)).train(before == "train")
    one_pass("train_one_epoch", model, loader(*uneven(rng)))
    expect_equal(set(model[0].modes), {"train"}, what="the mode during training", hint="model.train() at the start")
    expect(model.training, "the model should be left in train mode, but is in eval mode")


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


def test_buffers_are_restored_with_the_weights():
    """BatchNorm's running statistics belong to the weights they were computed with. The statistic here counts batches."""
    model, _, _ = fitted([[3.0], [1.0], [2.0], [2.0]])
    hint = "save and load the whole state_dict, not only parameters()"
    expect_equal(model.statistic.item(), 2.0, what="the buffer after fit, with epoch 2 best,", hint=hint)


def test_the_optimizer_still_trains_the_model_after_fit():
    """Weights that are replaced rather than copied into leave the optimizer with tensors that no model uses."""
    model, optimizer, _ = fitted([[3.0], [1.0], [2.0]])
    train_one_epoch(model, loader(torch.zeros(1, 9).double(), torch.zeros(1).long()), first_logit, optimizer, "cpu")
    hint = "model.load_state_dict(best) copies in place; assign=True and new Parameters do not"
    expect_equal(model.weight.item(), 3.0, what="the weight one step after fit, with epoch 2 best,", hint=hint)


@BOTH
def test_an_empty_loader_is_an_error(which):
    """There is no mean of nothing. 0.0 would look like a perfect loss, and NaN would spread in silence."""
    with expect_raises(
        ValueError, what=f"{which} on an empty loader", hint="raise it when the loop has seen no sample"
    ):
        one_pass(which, Echo(), [])


@pytest.mark.parametrize("epochs", [0, -1])
def test_fit_needs_at_least_one_epoch(rng, epochs):
    """An empty history would hide a wrong configuration until something indexes it."""
    model, batches = Echo(), loader(*uneven(rng))
    with expect_raises(ValueError, what=f"fit(epochs={epochs})"):
        fit(model, batches, batches, cross_entropy, SGD(model.parameters(), lr=0.1), epochs=epochs)
