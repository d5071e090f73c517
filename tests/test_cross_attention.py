"""What any right cross-attention does. Weights are set by hand wherever numbers are compared; their start is free."""

import math

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from katas.cross_attention import CrossAttention


def fill(layer, **weights):
    """Sets weights by the submodule's name; `bias` is to_out's."""
    with torch.no_grad():
        for name, value in weights.items():
            target = layer.to_out.bias if name == "bias" else getattr(layer, name).weight
            target.copy_(torch.as_tensor(value))
    return layer


def attention(rng, query_dim=5, context_dim=7, heads=2, head_dim=3):
    """A layer in float64 with weights of size one."""
    layer = CrossAttention(query_dim, context_dim, heads, head_dim).double()
    sizes = {"to_q": (-1, query_dim), "to_k": (-1, context_dim), "to_v": (-1, context_dim)}
    weights = {name: randn(rng, heads * head_dim, size[1]) for name, size in sizes.items()}
    return fill(layer, **weights, to_out=randn(rng, query_dim, heads * head_dim), bias=randn(rng, query_dim))


def revealing(rng, content_dim=6, tokens=4):
    """A one-head layer that answers with its attention weights: token j carries, behind its content, a 1 at place j,
    and to_v reads only that. Also a function that turns contents [batch, tokens, content_dim] into such a context."""
    layer = CrossAttention(tokens, content_dim + tokens, 1, tokens).double()
    keys = torch.cat([randn(rng, tokens, content_dim), torch.zeros(tokens, tokens)], 1)
    values = torch.cat([torch.zeros(tokens, content_dim), torch.eye(tokens)], 1)
    fill(layer, to_q=randn(rng, tokens, tokens), to_k=keys, to_v=values, to_out=torch.eye(tokens), bias=0.0)
    return layer, lambda content: torch.cat([content, torch.eye(tokens).expand(len(content), -1, -1)], -1)


def some_mask(rng, *shape):
    """Random, with at least one True in each row."""
    mask = torch.rand(*shape, generator=rng) < 0.5
    return mask | (torch.rand(*shape, generator=rng).argsort(-1) == 0)


# Stage 1: heads, padding masks, self-attention


@pytest.mark.stage(1)
def test_a_worked_example():
    """One head with d = 4. For x = ln 3: q = (2 ln 3, 0, 0, 0), the keys begin with 1 and 0, so the logits are
    2 ln 3 / sqrt(4) = ln 3 and 0, the weights 3/4 and 1/4. The values are 10 and 20, and to_out adds 100."""
    layer = CrossAttention(1, 2, 1, 4).double()
    first = torch.tensor([1.0, 0, 0, 0])[:, None]
    fill(layer, to_q=2 * first, to_k=first * torch.tensor([1.0, 0]), to_v=first * torch.tensor([0, 1.0]))
    fill(layer, to_out=first.T, bias=100.0)
    x = torch.tensor([math.log(3), 0.0], dtype=torch.float64).reshape(1, 2, 1)
    context = torch.tensor([[[1.0, 10.0], [0.0, 20.0]]], dtype=torch.float64)
    expect_close(
        layer(x, context).flatten(),
        torch.tensor([112.5, 115.0], dtype=torch.float64),
        what="the answers to x = [ln 3, 0]",
        hint="logits over sqrt(head_dim), softmax over the keys, the weighted mean of the values, to_out with its bias",
    )


@pytest.mark.stage(1)
def test_the_submodules_and_their_shapes():
    """inner = heads x head_dim is a choice of its own. Checkpoints and LoRA find the layers by these names."""
    shapes = {name: list(p.shape) for name, p in CrossAttention(5, 7, 2, 3).named_parameters()}
    want = {"to_q.weight": [6, 5], "to_k.weight": [6, 7], "to_v.weight": [6, 7], "to_out.weight": [5, 6]}
    hint = "bias=False for to_q, to_k and to_v, and nothing else that has parameters"
    expect_equal(shapes, want | {"to_out.bias": [5]}, what="the parameters of CrossAttention(5, 7, 2, 3)", hint=hint)


@pytest.mark.stage(1)
def test_weights_are_a_softmax_of_dot_products_over_the_root_of_head_dim(rng):
    """The log of two weights' ratio is (q . k_i - q . k_j) / sqrt(d). Without the root, logits grow with d and the
    softmax saturates; with the softmax over the queries, the weights of a query would not add up to 1."""
    layer, context = revealing(rng)
    x, content = randn(rng, 2, 3, 4), randn(rng, 2, 4, 6)
    weights = layer(x, context(content))
    expect_close(weights.sum(-1), torch.ones(2, 3).double(), what="each query's sum of weights", hint="softmax(dim=-1)")
    logits = layer.to_q(x) @ layer.to_k(context(content)).transpose(1, 2)
    ratio = weights.log() - weights.log()[..., :1]
    hint = "divide q k^T by sqrt(head_dim), once"
    expect_close(ratio, (logits - logits[..., :1]) / 2, what="log(weight_j / weight_0) for head_dim 4", hint=hint)


@pytest.mark.stage(1)
def test_each_head_works_alone_on_its_block(rng):
    """3 heads are 3 one-head layers, each with its block of rows of to_q, to_k, to_v and its block of columns of
    to_out, added up. A root of inner instead of head_dim, or heads that are interleaved, show here."""
    layer, x, context = attention(rng, heads=3, head_dim=2), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    total = layer.to_out.bias.detach()
    for head in range(3):
        block = slice(2 * head, 2 * head + 2)
        rows = {name: getattr(layer, name).weight[block] for name in ("to_q", "to_k", "to_v")}
        single = fill(CrossAttention(5, 7, 1, 2).double(), **rows, to_out=layer.to_out.weight[:, block], bias=0.0)
        total = total + single(x, context)
    hint = "[batch, n, heads * head_dim] -> [batch, n, heads, head_dim] -> swap n and heads, and the same way back"
    expect_close(layer(x, context), total, what="3 heads, against 3 layers of one head", hint=hint)


@pytest.mark.stage(1)
@pytest.mark.parametrize("head_dim", [1, 3])
def test_one_token_answers_every_query(rng, head_dim):
    """The softmax over one token is 1: the answer is to_out(to_v(token)), whatever the query is."""
    layer, x, context = attention(rng, head_dim=head_dim), randn(rng, 2, 4, 5), randn(rng, 2, 1, 7)
    want = layer.to_out(layer.to_v(context)).expand(2, 4, 5)
    expect_close(layer(x, context), want, what="the answers from one token", hint="keys and values from the context")


@pytest.mark.stage(1)
def test_without_a_context_it_is_self_attention(rng):
    """The same class serves both kinds in a transformer block."""
    layer, x = attention(rng, 5, 5), randn(rng, 2, 4, 5)
    expect_close(layer(x), layer(x, x), what="layer(x)", hint="context None: x is the context")
    other = layer(x, randn(rng, 2, 4, 5))
    expect(not torch.allclose(layer(x), other), "a context should count, but layer(x, context) equals layer(x)")


@pytest.mark.stage(1)
def test_masked_tokens_might_as_well_not_be_there(rng):
    """True = attend. Padding an answer's context must not change it: prompts in a batch differ in length."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    mask = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]]).bool()
    got = layer(x, context, mask)
    hint = "True = attend; mask the logits with -inf before the softmax, so that the kept weights add up to 1"
    for row in range(2):
        want = layer(x[row : row + 1], context[row : row + 1, mask[row]])[0]
        expect_close(got[row], want, what=f"sample {row}, against its context without the masked tokens", hint=hint)


# Stage 2: masks for each query, nothing to attend, any sizes, wrong arguments

SIZES = [(2, 4, 6), (3, 3, 3), (1, 5, 2), (4, 1, 4), (4, 4, 7)]  # batch, queries, keys


@pytest.mark.stage(2)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_each_query_has_a_mask_of_its_own(rng, sizes):
    """A [batch, queries, keys] mask: every query equals that query alone with its row as a [batch, keys] mask."""
    batch, queries, keys = sizes
    layer, x, context = attention(rng), randn(rng, batch, queries, 5), randn(rng, batch, keys, 7)
    mask = some_mask(rng, batch, queries, keys)
    got = layer(x, context, mask)
    for n in range(queries):
        want = layer(x[:, n : n + 1], context, mask[:, n])
        hint = "[batch, queries, keys] -> [batch, 1, queries, keys], the same for every head"
        expect_close(got[:, n : n + 1], want, what=f"query {n} with its row of the mask", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_samples_and_queries_do_not_see_each_other(rng, sizes, masked):
    """Each sample has its own context and mask, at batch == queries == keys too, where a mask broadcasts silently."""
    batch, queries, keys = sizes
    layer, x, context = attention(rng), randn(rng, batch, queries, 5), randn(rng, batch, keys, 7)
    mask = some_mask(rng, batch, keys) if masked else None
    with expect_unchanged(x, context, *[mask] * masked, what="an argument"):
        got = layer(x, context, mask)
    expect_equal(list(got.shape), [batch, queries, 5], what="the output's shape", hint="one answer for each query")
    for row in range(batch):
        one = slice(row, row + 1)
        for n in range(queries):
            want = layer(x[one, n : n + 1], context[one], mask[one] if masked else None)
            hint = "[batch, keys] -> [batch, 1, 1, keys]; merge the heads by swapping the axes back first"
            expect_close(got[one, n : n + 1], want, what=f"query {n} of sample {row}, computed alone", hint=hint)


@pytest.mark.stage(2)
def test_the_order_of_the_tokens_does_not_matter(rng):
    """A set of tokens, with the mask moved along; no causal mask, and positions are the text encoder's business."""
    layer, x, context, mask = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7), some_mask(rng, 2, 6)
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    got = layer(x, context[:, order], mask[:, order])
    expect_close(got, layer(x, context, mask), what="the output for tokens in another order")


@pytest.mark.stage(2)
@pytest.mark.parametrize("kind", ["a sample", "a query"])
def test_a_query_with_nothing_to_attend_gives_the_bias(rng, kind):
    """Softmax over nothing is 0 / 0: one empty prompt in a batch would turn the whole loss into NaN. Averaging over
    tokens that were masked would let padding speak."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    mask = some_mask(rng, 2, 6) if kind == "a sample" else some_mask(rng, 2, 4, 6)
    want = layer(x, context, mask).detach()
    empty = (1,) if kind == "a sample" else (1, 2)
    mask[empty] = False
    want[empty] = layer.to_out.bias.detach()
    hint = "zeros before to_out, so to_out's bias after it; the other rows stay as they were"
    expect_close(layer(x, context, mask), want, what=f"the output where {kind} has nothing to attend", hint=hint)


@pytest.mark.stage(2)
def test_a_masked_token_has_no_influence_however_loud_it_is(rng):
    """Its weight is exactly 0: with -1e4 in place of -inf, a token that fits no better than -2e4 loses to the mask."""
    layer, context = revealing(rng)
    x, content, mask = randn(rng, 2, 3, 4), randn(rng, 2, 4, 6), torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1]]).bool()
    want = layer(x, context(content), mask)
    loud = content + 1e5 * randn(rng, 2, 4, 6) * ~mask[..., None]
    got = layer(x, context(loud), mask)
    expect_close(got, want, what="the weights after the masked tokens have changed", hint="masked logits are -inf")
    hidden = layer(x, context(1e5 * randn(rng, 2, 4, 6)), mask)[(~mask)[:, None].expand(2, 3, 4)]
    expect_close(hidden, torch.zeros(6).double(), what="the weights of masked tokens", hint="-inf, not -1e4")


@pytest.mark.stage(2)
def test_wrong_arguments_are_errors(rng):
    """A float mask may be meant as 0/1 or as 0/-inf, and a transposed one broadcasts: better to refuse than to guess."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    for heads, head_dim in ((0, 3), (2, 0), (-1, 3)):
        with expect_raises(ValueError, what=f"CrossAttention(5, 7, heads={heads}, head_dim={head_dim})"):
            CrossAttention(5, 7, heads, head_dim)
    with expect_raises(ValueError, what="layer(x) with query_dim 5 and context_dim 7", hint="x cannot be the context"):
        layer(x)
    masks = {
        "float": torch.ones(2, 6),
        "int64": torch.ones(2, 4, 6).long(),
        "[keys]": torch.ones(6).bool(),
        "[batch, queries]": torch.ones(2, 4).bool(),
        "[batch, keys, queries]": torch.ones(2, 6, 4).bool(),
        "[batch, heads, queries, keys]": torch.ones(2, 2, 4, 6).bool(),
    }
    for kind, mask in masks.items():
        with expect_raises(ValueError, what=f"layer(x, context, mask) with a mask that is {kind}"):
            layer(x, context, mask)


# Stage 3: numerics, dtypes, gradients


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """With a mask that leaves one query nothing. Tolerance: 30 roundings of the largest number on the way."""
    exact, x, context = attention(rng), randn(rng, 2, 4, 5, dtype=dtype) / 4, randn(rng, 2, 6, 7, dtype=dtype) / 4
    mask = some_mask(rng, 2, 4, 6)
    mask[0, 1] = False
    layer = CrossAttention(5, 7, 2, 3).to(dtype)
    layer.load_state_dict(exact.state_dict())
    exact.load_state_dict(layer.state_dict())  # the same numbers in float64
    size = exact.to_v(context.double()).abs().max() * exact.to_out.weight.abs().sum(1).max()
    close = {"rtol": 0.0, "atol": 30 * torch.finfo(dtype).eps * size.item()}
    for given in (None, mask):
        want = exact(x.double(), context.double(), given).to(dtype)
        what = f"the output in {dtype}, {'with' if given is not None else 'without'} a mask"
        expect_close(layer(x, context, given), want, what=what, hint="use a mask value that the dtype has", **close)


@pytest.mark.stage(3)
def test_huge_logits_stay_finite(rng):
    """exp(1e5) overflows in any dtype; a softmax that subtracts the maximum does not mind."""
    layer, context = revealing(rng)
    x, content = 1e3 * randn(rng, 2, 3, 4).float(), 1e2 * randn(rng, 2, 4, 6).float()
    weights = layer.float()(x, context(content))
    expect(weights.isfinite().all(), "weights from logits around 1e5 should be finite, but some are not")
    ones = torch.ones(2, 3)
    expect_close(weights.sum(-1), ones, what="each query's sum of weights, for logits around 1e5", hint="torch.softmax")


@pytest.mark.stage(3)
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_gradients_are_those_of_the_function(rng, masked):
    """Finite differences in float64, for x, for the context and for to_q's weight; one query attends to nothing."""
    layer, x, context = attention(rng, 3, 2, 2, 2), randn(rng, 2, 3, 3) / 2, randn(rng, 2, 4, 2) / 2
    mask = some_mask(rng, 2, 3, 4)
    mask[1, 1] = False

    def forward(x, context, weight):
        weights = dict(layer.named_parameters()) | {"to_q.weight": weight}
        return torch.func.functional_call(layer, weights, (x, context, mask if masked else None))

    inputs = [t.detach().clone().requires_grad_() for t in (x, context, layer.to_q.weight)]
    expect(forward(*inputs).requires_grad, "the output should be differentiable, but has no gradient at all")
    right = torch.autograd.gradcheck(forward, inputs, raise_exception=False)
    expect(right, "gradients should agree with finite differences, but do not", hint="detach nothing, keep NaN out")


@pytest.mark.stage(3)
def test_nothing_to_attend_means_finite_gradients(rng):
    """Behind an additive mask of -inf, nan_to_num after the softmax repairs the output and leaves NaN in the gradients:
    the softmax's derivative multiplies a zero with the NaN. One empty prompt then spoils all weights."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5).requires_grad_(), randn(rng, 2, 6, 7).requires_grad_()
    mask = torch.ones(2, 6).bool()
    mask[1] = False
    layer(x, context, mask).square().sum().backward()
    for name, leaf in {"x": x, "context": context, **dict(layer.named_parameters())}.items():
        expect(leaf.grad is not None, f"{name} should get a gradient, but gets none", hint="detach nothing")
        hint = "keep the empty rows' NaN from arising: give them something to attend, then zero their answers"
        expect(leaf.grad.isfinite().all(), f"the gradient of {name} should be finite, but is not", hint=hint)
    for name, leaf in (("x", x), ("context", context)):
        want, what = torch.zeros_like(leaf[1]), f"the gradient of {name} in the sample with nothing to attend"
        expect_close(leaf.grad[1], want, what=what, hint="its answer is constant")


# Stage 4: cost


def at_scale(rng, batch=2, queries=64, keys=77):
    layer = CrossAttention(32, 48, 4, 16)
    return layer, randn(rng, batch, queries, 32).float(), randn(rng, batch, keys, 48).float()


@pytest.mark.stage(4)
def test_each_token_is_projected_once(rng, cost):
    """FLOPs: four projections and two products of [queries, keys]. Projecting the context for each head or each query
    costs a multiple. (A fused attention kernel's own FLOPs may go uncounted, so there is only an upper limit for it.)"""
    layer, x, context = at_scale(rng)
    with cost() as projections, torch.no_grad():
        for module, tokens in ((layer.to_q, x), (layer.to_k, context), (layer.to_v, context)):
            nn.functional.linear(tokens, module.weight)
        nn.functional.linear(torch.zeros(2, 64, 64), layer.to_out.weight)
    with cost() as spent:
        layer(x, context)
    most = projections.flops + 2 * 2 * 2 * 64 * 77 * 64
    ratio = spent.flops / projections.flops
    expect(ratio >= 0.99, f"torch operators should do the projections, but only {ratio:.2f}x their FLOPs were seen")
    sentence = f"forward should cost at most {1.02 * most:.3g} FLOPs, but cost {spent.flops:.3g}"
    expect(spent.flops <= 1.02 * most, sentence, hint="call to_q, to_k, to_v and to_out once each, on all heads")


@pytest.mark.stage(4)
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_memory_is_a_few_attention_matrices(rng, cost, masked):
    """[batch, heads, queries, keys] a few times at most; q k^T by broadcasting would form head_dim times as much."""
    layer, x, context = at_scale(rng)
    mask = some_mask(rng, 2, 77) if masked else None
    with cost() as spent, torch.no_grad():
        layer(x, context, mask)
    matrix, others = 2 * 4 * 64 * 77 * 4, 4 * (x.nbytes + context.nbytes) * 2
    ratio = max(0, spent.allocated - others) / matrix
    sentence = f"forward should allocate at most 8 attention matrices, but allocated {ratio:.1f}"
    expect(ratio <= 8, sentence, hint="matrix products, not a broadcast product and a sum")


@pytest.mark.stage(4)
def test_operators_do_not_grow_with_the_batch(rng, cost):
    """A python loop over samples would launch kernels one by one. (One over heads is slow, too, but passes.)"""
    counts = []
    for batch in (2, 16):
        layer, x, context = at_scale(rng, batch, 5, 6)
        with cost() as spent:
            layer(x, context, some_mask(rng, batch, 6))
        counts.append(spent.operators)
    sentence = f"16 samples should take about as many operators as 2 ({counts[0]}), but took {counts[1]}"
    expect(counts[1] <= counts[0] + 20, sentence, hint="work on all samples at once")
