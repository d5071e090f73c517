"""What any right LoRA layer does. Nothing asks how A is initialised, or whether unmerging subtracts or restores."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import expect, expect_close, expect_distribution, expect_equal, expect_raises, expect_unchanged, randn
from katas.lora_linear import LoRALinear

# Stages 1 and 2 stay in float32, where most models live; an adapter that ignores the base's dtype is stage 3's business.
X = torch.tensor([1.0, 2.0, 3.0])
ANSWER = torch.tensor([51.5, 19.0, 54.0, 46.0])
MERGED = torch.tensor([[2.5, 15, 3], [0, -0.5, 0], [3, 0, 7], [1, 1, 1]])


def worked_example(dropout=0.0):
    """At x = [1, 2, 3]: W x + b = [11, 22, 33, 46], A x = [7, 2], B A x = [27, -2, 14, 0]; alpha / rank = 3 / 2."""
    layer = LoRALinear(nn.Linear(3, 4), 2, 3, dropout)
    fill(layer.base.weight, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    fill(layer.base.bias, [10, 20, 30, 40])
    fill(layer.lora_A, [[1, 0, 2], [0, 1, 0]])
    fill(layer.lora_B, [[1, 10], [0, -1], [2, 0], [0, 0]])
    return layer


def trained(rng, in_features=5, out_features=7, rank=3, alpha=1.5, dropout=0.0, bias=True, dtype=torch.float32):
    """A layer in the middle of its training: B is no longer zero."""
    layer = LoRALinear(nn.Linear(in_features, out_features, bias, dtype=dtype), rank, alpha, dropout)
    fill(layer.lora_A, randn(rng, rank, in_features))
    fill(layer.lora_B, randn(rng, out_features, rank))
    return layer


def vectors(rng, *shape):
    return randn(rng, *shape, dtype=torch.float32)


def fill(tensor, values):
    """Overwrites a parameter in place, as loading a checkpoint does."""
    values = torch.as_tensor(values, dtype=tensor.dtype)
    expect_equal(list(tensor.shape), list(values.shape), what="a shape", hint="lora_A [rank, in], lora_B [out, rank]")
    with torch.no_grad():
        tensor.copy_(values)


def frozen(layer, x):
    """What the base answers, from its weight and bias alone."""
    return F.linear(x, layer.base.weight, layer.base.bias)


def backward(
    loss,
    inputs="trainable parameters",
    hint="lora_A and lora_B are Parameters; use them outside no_grad and without detach()",
):
    expect(loss.requires_grad, f"the output should depend on {inputs}, but autograd sees none", hint=hint)
    loss.backward()


# Stage 1: the update, its start, what trains, merge and unmerge


@pytest.mark.stage(1)
def test_the_update_is_alpha_over_rank_times_B_A_x():
    """A worked example, in the mode that a new layer is in: [11, 22, 33, 46] + 1.5 * [27, -2, 14, 0]."""
    hint = "base(x) + alpha / rank * B A x, with the true quotient alpha / rank"
    expect_close(worked_example()(X), ANSWER, what="layer([1, 2, 3])", hint=hint)


@pytest.mark.stage(1)
def test_a_new_layer_answers_as_its_base(rng):
    """Fine-tuning starts from the pretrained model, whatever alpha is: that is what B = 0 is for."""
    base, x = nn.Linear(5, 7), vectors(rng, 4, 5)
    want = F.linear(x, base.weight.detach().clone(), base.bias.detach().clone())
    hint = "B starts at zero, the base keeps its weight and bias, and only the update is scaled"
    expect_close(LoRALinear(base, 3, 1000.0)(x), want, what="the new layer's output", hint=hint)


@pytest.mark.stage(1)
def test_B_starts_at_zero_and_A_at_random():
    """Both zero never learn; both random change the pretrained model; with equal rows in A the rank stays 1.
    Memory that nobody has filled is NaN here, so that an A which was only allocated shows every time."""
    torch.set_deterministic_debug_mode("warn")  # torch.empty gives NaN
    try:
        layer, other = (LoRALinear(nn.Linear(5, 7), 3, 1.0) for _ in range(2))
    finally:
        torch.set_deterministic_debug_mode("default")
    A, B = layer.lora_A.detach(), layer.lora_B.detach()
    expect_close(B, torch.zeros(7, 3), what="lora_B at the start", hint="B [out, rank] is zero, A is not")
    expect_equal(list(A.shape), [3, 5], what="the shape of lora_A", hint="[rank, in]")
    expect(A.isfinite().all(), "lora_A should hold random numbers, but holds NaN", hint="torch.empty only allocates")
    hint = "draw A at random: zeros, or one constant everywhere, cannot learn rank directions"
    expect_equal(int(torch.linalg.matrix_rank(A)), 3, what="the rank of lora_A at the start", hint=hint)
    sentence = "two layers should draw different A, but got the same one"
    expect(not torch.equal(A, other.lora_A), sentence, hint="do not seed anything yourself")


@pytest.mark.stage(1)
@pytest.mark.parametrize("frozen_before", [False, True])
def test_only_A_and_B_train(frozen_before):
    """The optimizer takes what requires a gradient: nothing of the base, its bias included, and both factors.
    Some freeze the whole model before they wrap its layers: A and B must not inherit that."""
    layer = LoRALinear(nn.Linear(5, 7).requires_grad_(not frozen_before), 3, 1.0)
    names = sorted(name for name, parameter in layer.named_parameters() if parameter.requires_grad)
    hint = "freeze base.weight and base.bias; lora_A and lora_B are nn.Parameters"
    expect_equal(names, ["lora_A", "lora_B"], what="the list of trainable parameters", hint=hint)


@pytest.mark.stage(1)
def test_the_base_is_kept_not_copied():
    """A second copy of W doubles the memory that LoRA is there to save, and parts from layers that share W."""
    base = nn.Linear(5, 7)
    weight, bias = base.weight, base.bias
    with expect_unchanged(weight, bias, what="the pretrained weight and bias", hint="do not re-initialise the base"):
        layer = LoRALinear(base, 3, 1.0)
    expect(layer.base is base, "layer.base should be the very layer that was given, but is another", hint="no copy")
    kept = layer.base.weight is weight and layer.base.bias is bias
    expect(
        kept, "the base's own Parameters should stay, but were replaced", hint="requires_grad_(False) freezes in place"
    )


@pytest.mark.stage(1)
def test_the_first_gradient_reaches_B_and_is_zero_for_A(rng):
    """dA carries a factor B = 0, dB a factor A != 0. The interviewer goes on: how can A ever learn, then?"""
    layer = LoRALinear(nn.Linear(5, 7), 3, 1.5)
    backward((layer(vectors(rng, 4, 5)) * vectors(rng, 4, 7)).sum())
    for name in ("lora_A", "lora_B"):
        missing = getattr(layer, name).grad is None
        expect(not missing, f"{name} should get a gradient, but its .grad is None", hint="is it detached, or frozen?")
    expect_equal(layer.lora_A.grad, torch.zeros(3, 5), what="dL/dA at the start", hint="B starts at zero")
    expect(layer.lora_B.grad.abs().max() > 0, "dL/dB should not be zero at the start, but is", hint="is A random?")


@pytest.mark.stage(1)
def test_three_steps_move_A_and_B_and_nothing_else(rng):
    """Step 1 moves B; from step 2 on A has a gradient, too. The pretrained numbers must survive to the last bit."""
    layer = LoRALinear(nn.Linear(5, 7), 3, 1.5)
    start = {name: getattr(layer, name).detach().clone() for name in ("lora_A", "lora_B")}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    x, target = vectors(rng, 4, 5), vectors(rng, 4, 7)
    with expect_unchanged(layer.base.weight, layer.base.bias, what="the base", hint="freeze its weight and its bias"):
        for _ in range(3):
            optimizer.zero_grad()
            backward((layer(x) - target).square().mean())
            optimizer.step()
    for name, value in start.items():
        stuck = torch.equal(getattr(layer, name), value)
        expect(
            not stuck, f"{name} should have moved after three steps, but has not", hint="is it a Parameter, undetached?"
        )


@pytest.mark.stage(1)
def test_merging_writes_the_update_into_the_base():
    """The worked example again: W + 1.5 * B A. The answer stays, and now the base alone gives it."""
    layer = worked_example()
    expect_equal(bool(layer.merged), False, what="merged at the start")
    layer.merge()
    expect_equal(bool(layer.merged), True, what="merged after merge()")
    expect_close(layer.base.weight, MERGED, what="base.weight after merge()", hint="W + alpha / rank * B A")
    hint = "a merged layer adds no branch: the weight has the update in it"
    expect_close(layer(X), ANSWER, what="layer([1, 2, 3]) after merge()", hint=hint)


@pytest.mark.stage(1)
def test_unmerging_takes_the_update_out_again(rng):
    """Up to rounding: the way back need not be bit-exact. Then the branch answers again, and trains."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    weight, answer = layer.base.weight.detach().clone(), layer(x)
    layer.merge()
    layer.unmerge()
    expect_equal(bool(layer.merged), False, what="merged after unmerge()")
    hint = "unmerge() takes out exactly what merge() added"
    expect_close(layer.base.weight, weight, what="base.weight after merge() and unmerge()", hint=hint)
    expect_close(layer(x), answer, what="the output after merge() and unmerge()", hint="the branch is added again")


# Stage 2: shapes, dropout, bad values, merging at awkward moments


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (0,), (2, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_any_leading_dimensions_work_as_in_the_base(rng, shape, bias):
    """Every vector of a batch is answered as it would be alone, and a base without bias stays without."""
    layer, x = trained(rng, bias=bias), vectors(rng, *shape, 5)
    want = torch.zeros(*shape, 7)
    for row, vector in zip(want.view(-1, 7), x.view(-1, 5), strict=True):
        row.copy_(layer(vector).detach())
    hint = "F.linear and @ take any leading dimensions; do not assume that there are one or two"
    expect_close(layer(x), want, what=f"the output for x of shape {[*shape, 5]}", hint=hint)
    zero = torch.zeros(5)
    hint = "the update has no bias of its own; the base adds its bias once, where it has one"
    expect_close(layer(zero), frozen(layer, zero), what="the output for x = 0", hint=hint)
    expect_equal(layer.base.bias is not None, bias, what="whether the base has a bias")


@pytest.mark.stage(2)
def test_views_with_any_strides_work_and_x_is_not_modified(rng):
    """Activations often arrive transposed. The base, and the residual around the layer, still need x as it was."""
    layer, dense = trained(rng), vectors(rng, 3, 4, 5)
    view = dense.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, not contiguous
    with expect_unchanged(dense, view, what="x", hint="no inplace=True, no `x *=`"):
        expect_close(layer(view), layer(dense), what="the output for a transposed view", hint="reshape, not view")
        trained(rng, dropout=0.5).train()(dense)
    expect(
        not dense.requires_grad, "x should be left as it is, but requires a gradient now", hint="no requires_grad_()"
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one_is_an_error(rank):
    """Rank 0 would divide by zero; in some libraries it means 'no adapter', here it is refused."""
    with expect_raises(ValueError, what=f"LoRALinear(base, rank={rank}, alpha=1)", hint="check the rank first"):
        LoRALinear(nn.Linear(5, 7), rank, 1.0)


@pytest.mark.stage(2)
@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_outside_zero_to_one_is_an_error(dropout):
    """nn.Dropout accepts 1.0, with which the update would be off in training and full in use; and NaN."""
    hint = "`not 0 <= dropout < 1` also catches NaN, which every other comparison lets through"
    with expect_raises(ValueError, what=f"LoRALinear(..., dropout={dropout})", hint=hint):
        LoRALinear(nn.Linear(5, 7), 3, 1.0, dropout)


@pytest.mark.stage(2)
def test_the_base_sees_x_without_dropout(rng):
    """With B = 0 the dropped branch adds nothing: in training mode, too, the new layer is its base."""
    layer, x = LoRALinear(nn.Linear(5, 7), 3, 1.5, 0.5).train(), vectors(rng, 20, 5)
    hint = "drop the input of the update only, and not in place"
    expect_close(layer(x), frozen(layer, x), what="a new layer with dropout, in training", hint=hint)


@pytest.mark.stage(2)
def test_dropout_drops_single_inputs_of_the_update():
    """x = [1, 2, 4, 8] and A of ones: the update tells which inputs survived. Chi-square over 4000 rows: 1e-6 false
    alarms. Also, an update scaled by 1 - p, or not at all, in training is another function than in evaluation."""
    p, B = 0.25, torch.tensor([[1.0], [-3.0], [0.5]])
    layer = LoRALinear(nn.Linear(4, 3, bias=False), 1, 2.0, p).train()
    fill(layer.base.weight, torch.zeros(3, 4))
    fill(layer.lora_A, torch.ones(1, 4))
    fill(layer.lora_B, B)
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).repeat(4000, 1)
    survived = layer(x).detach() * (1 - p) / (2.0 * B.T)  # the sum of the kept inputs, [4000, 3]
    what, hint = "(1 - dropout) * sum(dropout([1, 2, 4, 8]))", "kept inputs are divided by 1 - dropout"
    expect_close(survived, survived.round(), what=what, hint=hint)
    first = survived[:, :1].round()
    hint = "drop the input of the update, not its output: all outputs see the same x"
    expect_close(survived, first.expand(-1, 3), what="the sum of kept inputs, as each output sees it", hint=hint)
    kept = (torch.arange(16)[:, None] >> torch.arange(4)) & 1  # the subset of inputs behind each sum, [16, 4]
    probs = torch.where(kept == 1, 1 - p, p).prod(-1)
    hint = "each element of x is dropped on its own, with probability dropout, before A"
    expect_distribution(first.long(), probs, what="the sums of kept inputs of [1, 2, 4, 8]", hint=hint)


@pytest.mark.stage(2)
def test_dropout_draws_anew_in_every_pass(rng):
    """A mask that is kept, or drawn from a seed of its own, trains the same part of the adapter every time. That two
    passes over 100 inputs agree by chance has probability 2^-100."""
    layer, x = trained(rng, 100, 7, dropout=0.5).train(), vectors(rng, 1, 100)
    hint = "let nn.Dropout draw; keep no mask, and seed nothing"
    same = torch.equal(layer(x), layer(x))
    expect(not same, "two passes in training should drop different inputs, but gave the same output", hint=hint)


@pytest.mark.stage(2)
def test_dropout_is_off_in_evaluation():
    """F.dropout drops in any mode unless it is told `training=self.training`; an nn.Dropout module knows."""
    layer = worked_example(dropout=0.5).eval()
    for _ in range(3):
        expect_close(layer(X), ANSWER, what="layer([1, 2, 3]) in eval mode", hint="dropout is for training only")


@pytest.mark.stage(2)
def test_merging_merges_the_whole_update_in_training_too():
    """A weight merged from a dropped A lacks entries, and no later unmerge knows which."""
    layer = worked_example(dropout=0.5).train()
    layer.merge()
    expect_close(layer.base.weight, MERGED, what="base.weight after merge() in training", hint="no dropout in merge()")
    for _ in range(3):
        hint = "merged: base(x), with nothing dropped"
        expect_close(layer(X), ANSWER, what="the merged layer in training", hint=hint)
    layer.unmerge()
    left = torch.tensor([11.0, 22.0, 33.0, 46.0])
    expect_close(frozen(layer, X), left, what="W [1, 2, 3] + b after unmerge()", hint="no dropout in unmerge()")


@pytest.mark.stage(2)
def test_merging_twice_merges_once():
    """A saver asks for it, and a server asks again: the second call must not double the update."""
    layer = worked_example()
    layer.merge()
    layer.merge()
    hint = "do nothing if it is merged already"
    expect_close(layer.base.weight, MERGED, what="base.weight after merge() twice", hint=hint)
    layer.unmerge()
    expect_close(layer(X), ANSWER, what="the output after merge() twice and unmerge()", hint="one unmerge undoes it")


@pytest.mark.stage(2)
def test_unmerging_what_is_not_merged_does_nothing():
    """Neither at the start nor after another unmerge is there anything to subtract."""
    layer = worked_example()
    with expect_unchanged(layer.base.weight, what="base.weight", hint="unmerge only what is merged"):
        layer.unmerge()
    layer.merge()
    layer.unmerge()
    layer.unmerge()
    hint = "unmerge() checks `merged`, and sets it back to False"
    expect_close(layer(X), ANSWER, what="the output after merge() and unmerge() twice", hint=hint)


@pytest.mark.stage(2)
def test_merging_keeps_the_adapter_and_the_frozen_weight(rng):
    """A merged layer can be unmerged, saved and trained on; optimizers and tied layers hold on to its Parameters."""
    layer = trained(rng)
    before = {name: (parameter, parameter.requires_grad) for name, parameter in layer.named_parameters()}
    with expect_unchanged(
        layer.lora_A, layer.lora_B, what="the adapter", hint="merge() leaves lora_A and lora_B alone"
    ):
        layer.merge()
    after = dict(layer.named_parameters())
    expect_equal(sorted(after), sorted(before), what="the parameters of a merged layer", hint="keep lora_A and lora_B")
    for name, parameter in after.items():
        old, trains = before[name]
        sentence = f"{name} should stay the same Parameter, but merge() replaced it"
        expect(parameter is old, sentence, hint="write into it, in place")
        hint = "write under torch.no_grad(), or autograd makes the weight a result of A and B"
        what = f"(requires_grad, is_leaf) of {name} after merge()"
        expect_equal((parameter.requires_grad, parameter.is_leaf), (trains, True), what=what, hint=hint)
    layer.unmerge()
    for name, parameter in layer.named_parameters():
        old, trains = before[name]
        sentence = f"{name} should stay the same Parameter, but unmerge() replaced it"
        expect(parameter is old, sentence, hint="write into it, in place")
        what = f"(requires_grad, is_leaf) of {name} after merge() and unmerge()"
        hint = "unmerging leaves the base frozen and the adapter trainable"
        expect_equal((parameter.requires_grad, parameter.is_leaf), (trains, True), what=what, hint=hint)


@pytest.mark.stage(2)
def test_train_and_eval_do_not_merge(rng):
    """loralib merges in eval() and unmerges in train(); a checkpoint saved during evaluation then holds W + BA."""
    layer = trained(rng)
    hint = "only merge() and unmerge() write into it; there is no need to override train()"
    with expect_unchanged(layer.base.weight, what="base.weight", hint=hint):
        expect(layer.eval() is layer, "eval() should return the layer, as nn.Module's does", hint=hint)
        layer.train()
    layer.merge()
    with expect_unchanged(layer.base.weight, what="the merged base.weight", hint=hint):
        layer.eval()
        layer.train()
    expect_equal(bool(layer.merged), True, what="merged after merge(), eval() and train()", hint=hint)


@pytest.mark.stage(2)
def test_merging_takes_the_adapter_as_it_is_now(rng):
    """Merge to evaluate, unmerge to train on, merge again: an update that was kept from the first time is stale."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    layer.merge()
    layer.unmerge()
    fill(layer.lora_B, randn(rng, 7, 3))
    answer = layer(x)
    layer.merge()
    expect_close(layer(x), answer, what="the output, merged after further training", hint="compute B A anew in merge()")


@pytest.mark.stage(2)
def test_merging_takes_the_base_weight_as_it_is_now(rng):
    """Another checkpoint is loaded between two merges: a copy of W from the first one would bring the old model back."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    layer.merge()
    layer.unmerge()
    fill(layer.base.weight, randn(rng, 7, 5))
    weight, answer = layer.base.weight.detach().clone(), layer(x)
    layer.merge()
    hint = "add to the weight that is there now, or take the backup anew in every merge()"
    expect_close(layer(x), answer, what="the output, merged after base.weight has changed", hint=hint)
    layer.unmerge()
    what = "base.weight after changing it, merge() and unmerge()"
    expect_close(layer.base.weight, weight, what=what, hint=hint)


@pytest.mark.stage(2)
def test_merging_writes_into_the_memory_of_the_weight(rng):
    """A tied layer may hold a view of it, another process may map it, a captured CUDA graph reads its address: whoever
    shares the memory goes on with the old numbers when `weight.data` is exchanged."""
    layer = trained(rng)
    shared = layer.base.weight.detach()  # the same memory
    hint = "write in place: weight.add_(...) or weight.copy_(...) under no_grad, not `weight.data = ...`"
    for call in ("merge", "unmerge"):
        getattr(layer, call)()
        expect_equal(shared, layer.base.weight.detach(), what=f"a view of base.weight after {call}()", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_checkpoint_holds_each_parameter_once_and_restores_the_layer(rng, bias):
    """A second name for W doubles the file, or breaks saving; what is not registered is missing from it; and a buffer
    that nobody else knows makes every other implementation refuse it."""
    layer, other, x = trained(rng, bias=bias), trained(rng, bias=bias), vectors(rng, 4, 5)
    want = ["base.bias", "base.weight", "lora_A", "lora_B"] if bias else ["base.weight", "lora_A", "lora_B"]
    names = sorted(name for name, _ in layer.named_parameters(remove_duplicate=False))
    hint = "register base, lora_A and lora_B, and nothing of the base a second time"
    expect_equal(names, want, what="the list of registered parameters", hint=hint)
    hint = "keep the scale, the flag and a backup of W as plain attributes (or register_buffer(..., persistent=False))"
    expect_equal(sorted(layer.state_dict()), want, what="the list of names in the state dict", hint=hint)
    other.load_state_dict(layer.state_dict())
    expect_close(other(x), layer(x), what="the output of another layer with this one's state dict", hint=hint)
    other.merge()
    expect_equal(sorted(other.state_dict()), want, what="the list of names in a merged layer's state dict", hint=hint)
    other.unmerge()
    what = "base.weight of the loaded layer after merge() and unmerge()"
    hint = "take the update out of the weight that is there now; a copy made in __init__ is stale once a checkpoint is loaded"
    expect_close(other.base.weight, layer.base.weight, what=what, hint=hint)


@pytest.mark.stage(2)
def test_two_layers_share_nothing(rng):
    """Merging or training one layer of a model must not reach its neighbour."""
    first, second, x = trained(rng), trained(rng), vectors(rng, 4, 5)
    answer, hint = second(x).detach(), "keep state on self, not on the class or the module"
    first.merge()
    fill(first.lora_A, randn(rng, 3, 5))
    expect_equal(bool(second.merged), False, what="merged of another layer", hint=hint)
    expect_close(second(x), answer, what="the output of another layer", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("merged", [False, True], ids=["apart", "merged"])
def test_a_deep_copy_is_a_layer_of_its_own(rng, merged):
    """Averaged weights and a merged copy for serving both start with deepcopy, while the original trains on."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    answer = layer(x).detach()
    if merged:
        layer.merge()
    twin = copy.deepcopy(layer)
    hint = "keep tensors and flags on self; a lambda or a closure goes on calling the layer that it was made for"
    expect_equal(bool(twin.merged), merged, what="merged of a deep copy", hint=hint)
    twin.unmerge()
    fill(twin.lora_B, torch.zeros(7, 3))
    expect_close(twin(x), frozen(twin, x), what="the output of a deep copy whose B is then set to zero", hint=hint)
    expect_equal(bool(layer.merged), merged, what="merged of the original after its copy is unmerged", hint=hint)
    expect_close(layer(x), answer, what="the output of the original after its copy has changed", hint=hint)


# Stage 3: dtypes, devices, gradients


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """The adapter takes the base's dtype, and merging keeps it. Tolerance: 16 roundings of the largest number."""
    layer, x, exact = trained(rng, dtype=dtype), randn(rng, 4, 5, dtype=dtype), trained(rng).double()
    pair, hint = (layer.lora_A.dtype, layer.lora_B.dtype), "create A and B with the dtype of base.weight"
    expect_equal(pair, (dtype, dtype), what="the pair of dtypes of lora_A and lora_B", hint=hint)
    exact.load_state_dict(layer.state_dict())  # the same numbers in float64
    want, weight = exact(x.double()).detach().to(dtype), layer.base.weight.detach().clone()
    close = {"rtol": 0.0, "atol": 16 * torch.finfo(dtype).eps * want.abs().max().item()}
    expect_close(layer(x), want, what=f"the output in {dtype}", **close)
    layer.merge()
    expect_equal(layer.base.weight.dtype, dtype, what="the merged weight's dtype", hint="write into it in place")
    expect_close(layer(x), want, what=f"the merged output in {dtype}", **close)
    close["atol"] = 4 * torch.finfo(dtype).eps * layer.base.weight.detach().abs().max().item()
    layer.unmerge()
    expect_close(layer.base.weight, weight, what="base.weight after the round trip", **close)


@pytest.mark.stage(3)
def test_the_adapter_follows_its_base_to_another_device_or_dtype(rng):
    """A model may be built on another device (here 'meta'), or converted after it was wrapped."""
    layer = LoRALinear(nn.Linear(5, 7, device="meta"), 3, 1.0)
    pair, hint = (layer.lora_A.device.type, layer.lora_B.device.type), "create A and B where base.weight is"
    expect_equal(pair, ("meta", "meta"), what="the pair of devices of lora_A and lora_B", hint=hint)
    layer, x = trained(rng), vectors(rng, 4, 5)
    want = layer(x).double()
    close = {"rtol": 0.0, "atol": 16 * torch.finfo(torch.float32).eps * want.detach().abs().max().item()}
    expect_close(layer.double()(x.double()), want, what="the output after layer.double()", hint="nn.Parameter", **close)


@pytest.mark.stage(3)
@pytest.mark.parametrize("name", ["lora_A", "lora_B", "x"])
def test_gradients_predict_what_a_step_does(rng, name):
    """A loss linear in y is affine in A, in B and in x: a step D changes it by exactly <gradient, D>.
    x matters, too: in a deep network every earlier adapter learns through it."""
    layer, x, direction = trained(rng).double(), randn(rng, 2, 4, 5).requires_grad_(), randn(rng, 2, 4, 7)
    moved = x if name == "x" else getattr(layer, name)
    loss = (layer(x) * direction).sum()
    backward(loss)
    hint = "nothing in the forward may be detached or under no_grad, the frozen base included"
    expect(moved.grad is not None, f"{name} should get a gradient, but its .grad is None", hint=hint)
    step = randn(rng, *moved.shape)
    fill(moved, moved.detach() + step)
    change = (layer(x) * direction).sum() - loss
    expect_close((moved.grad * step).sum(), change, what=f"<dL/d{name}, step>", hint=hint)


@pytest.mark.stage(3)
def test_a_gradient_passes_through_a_merged_layer(rng):
    """Evaluation may still need dL/dx (saliency, guidance): merged or not, it is the same."""
    layer, direction = trained(rng).double(), randn(rng, 4, 7)
    x, again = randn(rng, 4, 5).requires_grad_(), randn(rng, 4, 5).requires_grad_()  # dL/dx does not depend on x
    backward((layer(x) * direction).sum())
    layer.merge()
    hint = "no torch.no_grad() around the base, and no detach(), in the merged forward either"
    backward((layer(again) * direction).sum(), "x, merged too", hint)
    expect_close(again.grad, x.grad, what="dL/dx of the merged layer", hint=hint)


# Stage 4: cost


def at_scale(rng):
    """1024 -> 1024 with rank 4: A and B are the same share of W (0.8 %) as with rank 16 of 4096 -> 4096."""
    return trained(rng, 1024, 1024, 4, 8.0), vectors(rng, 16, 1024)


@pytest.mark.stage(4)
def test_only_rank_times_in_plus_out_numbers_train():
    """What the optimizer keeps state for, and what data-parallel workers exchange: 8192 numbers here, not a million."""
    layer = LoRALinear(nn.Linear(1024, 1024), 4, 8.0)
    count = sum(parameter.numel() for parameter in layer.parameters() if parameter.requires_grad)
    expect_equal(count, 8192, what="the number of trainable parameters", hint="rank * (in + out): freeze the base")


@pytest.mark.stage(4)
def test_the_forward_costs_little_more_than_the_base(rng, cost):
    """Through the rank: 1.008 times the base. B A first costs 1.25 times for these 16 rows, and 4 MB for the product."""
    layer, x = at_scale(rng)
    with cost() as base:
        frozen(layer, x)
    with cost() as spent:
        layer(x)
    ratio, size = spent.flops / base.flops, spent.allocated / 1e6
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the base's FLOPs")
    hint = "multiply x by A first, then by B: (x A^T) B^T, never x (B A)^T"
    expect(ratio <= 1.05, f"the forward should cost at most 1.05x the base's FLOPs, but cost {ratio:.2f}x", hint=hint)
    hint = "no tensor of W's size (4 MB): neither B A nor a copy of W"
    expect(size < 2, f"the forward should allocate less than 2 MB, but allocated {size:.1f} MB", hint=hint)


@pytest.mark.stage(4)
def test_a_merged_forward_costs_exactly_the_base(rng, cost):
    """The reason to merge: the adapter costs nothing when it is served."""
    layer, x = at_scale(rng)
    layer.merge()
    with cost() as base:
        frozen(layer, x)
    with cost() as spent:
        layer(x)
    expect_equal(spent.flops, base.flops, what="FLOPs of the merged forward", hint="merged: base(x) and nothing else")


@pytest.mark.stage(4)
def test_a_training_step_needs_no_gradient_of_W(rng, cost):
    """Full fine-tuning takes three products of W's size (y, dL/dx and dL/dW); with W frozen there are two."""
    layer, x = at_scale(rng)
    with cost() as base:
        frozen(layer, x)
    with cost() as spent:
        layer(x.requires_grad_()).sum().backward()
    ratio = spent.flops / base.flops
    sentence = f"forward and backward should cost at most 2.1x the base's forward in FLOPs, but cost {ratio:.2f}x"
    expect(ratio <= 2.1, sentence, hint="freeze the weight itself: then autograd never computes its gradient")
