"""What any right IP-Adapter does. Weights are set by hand wherever numbers are compared; their start is free."""

import math

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from katas.ip_adapter import DecoupledCrossAttention, ImageProjection

FROZEN = ["to_k.weight", "to_out.bias", "to_out.weight", "to_q.weight", "to_v.weight"]
NEW = ["to_k_image.weight", "to_v_image.weight"]
FROM_TEXT, FROM_IMAGE = ("to_k", "to_v"), ("to_k_image", "to_v_image")


def fill(layer, **weights):
    """Sets weights by the submodule's name; `bias` is to_out's."""
    with torch.no_grad():
        for name, value in weights.items():
            target = layer.to_out.bias if name == "bias" else getattr(layer, name).weight
            target.copy_(torch.as_tensor(value))
    return layer


def attention(rng, query_dim=5, context_dim=7, heads=2, head_dim=3, scale=0.7):
    """A layer in float64 with weights of size one."""
    layer = DecoupledCrossAttention(query_dim, context_dim, heads, head_dim, scale).double()
    inner = heads * head_dim
    weights = {name: randn(rng, inner, context_dim) for name in FROM_TEXT + FROM_IMAGE}
    weights |= {"to_q": randn(rng, inner, query_dim), "to_out": randn(rng, query_dim, inner)}
    return fill(layer, **weights, bias=randn(rng, query_dim))


def inputs(rng, batch=2, queries=4, keys=6, tokens=3, query_dim=5, context_dim=7):
    sizes = (queries, query_dim), (keys, context_dim), (tokens, context_dim)
    return tuple(randn(rng, batch, *size) for size in sizes)


def change(layer, x, context, image_tokens):
    """What the image adds to the output."""
    scale = layer.scale
    with_image = layer(x, context, image_tokens)
    layer.scale = 0.0
    without = layer(x, context, image_tokens)
    layer.scale = scale
    return with_image - without


def backward(loss, hint="detach nothing, and no torch.no_grad()"):
    expect(loss.requires_grad, "the output should depend on something trainable, but has no gradient at all", hint=hint)
    loss.backward()


# Stage 1: tokens from an image, two attentions with the same queries, what trains


@pytest.mark.stage(1)
def test_the_projection_has_two_layers_that_train():
    """One LayerNorm of context_dim numbers, however many tokens there are."""
    shapes = {name: list(p.shape) for name, p in ImageProjection(5, 4, 3).named_parameters() if p.requires_grad}
    want = {"proj.weight": [12, 5], "proj.bias": [12], "norm.weight": [4], "norm.bias": [4]}
    hint = "proj: nn.Linear(image_dim, tokens * context_dim); norm: nn.LayerNorm(context_dim)"
    expect_equal(shapes, want, what="the trainable parameters of ImageProjection(5, 4, 3)", hint=hint)


@pytest.mark.stage(1)
def test_each_image_token_is_normalised_on_its_own(rng):
    """Mean 0 and variance 1 (LayerNorm's eps apart) in each token: the text encoder's last layer is a norm, too.
    Before the reshape, the norm would leave loud and quiet tokens."""
    layer = ImageProjection(5, 16, 3).double()
    with torch.no_grad():
        layer.proj.weight *= torch.tensor([10.0, 30.0, 100.0]).repeat_interleave(16)[:, None]
    got = layer(3 * randn(rng, 4, 5))
    expect_equal(list(got.shape), [4, 3, 16], what="the tokens' shape", hint="[batch, tokens, context_dim]")
    hint = "reshape to [batch, tokens, context_dim] first, then LayerNorm over the last dimension"
    zeros, ones = torch.zeros(4, 3).double(), torch.ones(4, 3).double()
    expect_close(got.mean(-1), zeros, what="the mean of each token", hint=hint)
    close = {"rtol": 1e-3, "atol": 0.0}  # eps = 1e-5 beside variances that are far above 0.1
    expect_close(got.var(-1, correction=0), ones, what="the variance of each token", hint=hint, **close)


@pytest.mark.stage(1)
def test_token_j_is_the_jth_block_of_the_projection(rng):
    """3 tokens are 3 projections of one token each, with the blocks of rows of proj: checkpoints are laid out so."""
    layer, embedding = ImageProjection(5, 4, 3).double(), randn(rng, 2, 5)
    with torch.no_grad():
        layer.norm.weight.copy_(randn(rng, 4))
        layer.norm.bias.copy_(randn(rng, 4))
    got = layer(embedding)
    for token in range(3):
        rows = slice(4 * token, 4 * token + 4)
        single = ImageProjection(5, 4, 1).double()
        state = {"proj.weight": layer.proj.weight[rows], "proj.bias": layer.proj.bias[rows]}
        single.load_state_dict(state | {"norm.weight": layer.norm.weight, "norm.bias": layer.norm.bias})
        hint = "[batch, tokens * context_dim] -> [batch, tokens, context_dim], tokens first; norm has weight and bias"
        expect_close(got[:, token], single(embedding)[:, 0], what=f"token {token} of 3", hint=hint)


@pytest.mark.stage(1)
def test_the_submodules_and_which_of_them_train():
    """22 million new parameters in the paper, beside a frozen U-Net: only K' and V' belong to the image."""
    layer = DecoupledCrossAttention(5, 7, 2, 3)
    shapes = {name: list(p.shape) for name, p in layer.named_parameters()}
    want = {name + ".weight": [6, 7] for name in FROM_TEXT + FROM_IMAGE}
    want |= {"to_q.weight": [6, 5], "to_out.weight": [5, 6], "to_out.bias": [5]}
    hint = "nn.Linear layers: bias=False for all but to_out, and the queries are shared"
    expect_equal(shapes, want, what="the parameters of DecoupledCrossAttention(5, 7, 2, 3)", hint=hint)
    trains = sorted(name for name, p in layer.named_parameters() if p.requires_grad)
    hint = "requires_grad_(False) on to_q, to_k, to_v and to_out, in the constructor"
    expect_equal(trains, NEW, what="the parameters that train", hint=hint)
    expect_equal(sorted(layer.state_dict()), sorted(want), what="the state dict's keys", hint="scale is an attribute")


@pytest.mark.stage(1)
def test_a_worked_example():
    """One head, d = 4, x = ln 3, so q = (2 ln 3, 0, 0, 0). Text: keys 1 and 0, logits ln 3 and 0, weights 3/4 and 1/4,
    values 10 and 20: 12.5. Image: keys 0 and 1, weights 1/4 and 3/4, values 100 and 200: 175. With scale 0.1 that is
    12.5 + 17.5 = 30, and to_out makes 2 x 30 + 100 of it. For x = 0 all weights are 1/2: 15 + 0.1 x 150 = 30 again."""
    layer = DecoupledCrossAttention(1, 2, 1, 4, scale=0.1).double()
    first, key, value = torch.eye(4)[:, :1], torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    fill(layer, to_q=2 * first, to_k=first * key, to_v=first * value, to_k_image=first * key, to_v_image=first * value)
    fill(layer, to_out=2 * first.T, bias=100.0)
    x = torch.tensor([math.log(3), 0.0], dtype=torch.float64).reshape(1, 2, 1)
    context = torch.tensor([[[1.0, 10.0], [0.0, 20.0]]], dtype=torch.float64)
    image_tokens = torch.tensor([[[0.0, 100.0], [1.0, 200.0]]], dtype=torch.float64)
    expect_close(
        layer(x, context, image_tokens).flatten(),
        torch.tensor([160.0, 160.0], dtype=torch.float64),
        what="the answers to x = [ln 3, 0]",
        hint="text + scale * image, a softmax for each, to_out (and its bias) once, at the end",
    )


@pytest.mark.stage(1)
def test_scale_zero_is_plain_cross_attention(rng):
    """The base model is still there: no image matters, and from one word everything is to_out(to_v(word))."""
    layer, (x, context, image_tokens) = attention(rng, scale=0.0), inputs(rng)
    got, other = layer(x, context, image_tokens), layer(x, context, randn(rng, 2, 5, 7))
    hint = "text + scale * image: the text's half is never weighed down"
    expect_close(got, other, what="the output at scale 0, for two images", hint=hint)
    word = context[:, :1]
    want = layer.to_out(layer.to_v(word)).expand(2, 4, 5)
    expect_close(layer(x, word, image_tokens), want, what="the output at scale 0 for one word", hint=hint)


@pytest.mark.stage(1)
def test_one_image_token_adds_the_same_to_every_query(rng):
    """The softmax over one token is 1, so the change is scale x W_o W_v' token, whatever the queries and the text."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng, tokens=1)
    want = 0.7 * layer.to_v_image(image_tokens) @ layer.to_out.weight.T
    hint = "values from to_v_image; a softmax of its own; scale on the answer; to_out's bias once"
    got = change(layer, x, context, image_tokens)
    expect_close(got, want.expand(2, 4, 5), what="what one image token adds at scale 0.7", hint=hint)


@pytest.mark.stage(1)
def test_the_image_takes_nothing_from_the_text(rng):
    """Decoupled: what the image adds does not depend on the text. In one joint softmax they compete."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng)
    got = change(layer, x, context, image_tokens)
    want = change(layer, x, 3 * randn(rng, 2, 2, 7), image_tokens)
    hint = "two softmaxes, over the text's keys and over the image's; do not concatenate the keys"
    expect_close(got, want, what="what the image adds, beside two different texts", hint=hint)


@pytest.mark.stage(1)
@pytest.mark.parametrize("half", ["text", "image"])
def test_weights_are_a_softmax_of_dot_products_over_the_root_of_head_dim(rng, half):
    """Values that reveal the weights: token j carries, behind its content, a 1 at place j. The log of two weights'
    ratio is (q . k_i - q . k_j) / sqrt(d), with the same q for text and image."""
    layer = attention(rng, 4, 10, 1, 4, scale=1.0)
    reads_place = torch.cat([torch.zeros(4, 6), torch.eye(4)], 1)
    key, value, silent = (*FROM_TEXT, "to_v_image") if half == "text" else (*FROM_IMAGE, "to_v")
    fill(layer, **{value: reads_place, silent: 0.0}, to_out=torch.eye(4), bias=0.0)
    tokens = torch.cat([randn(rng, 2, 4, 6), torch.eye(4).double().expand(2, -1, -1)], -1)
    x, other = randn(rng, 2, 3, 4), randn(rng, 2, 2, 10)
    weights = layer(x, tokens, other) if half == "text" else layer(x, other, tokens)
    hint = "softmax over the half's own tokens, and to_out once"
    expect_close(weights.sum(-1), torch.ones(2, 3).double(), what=f"each query's sum of {half} weights", hint=hint)
    logits = layer.to_q(x) @ getattr(layer, key)(tokens).transpose(1, 2)
    hint = f"q from to_q, keys from {key}, divided by sqrt(head_dim); the scale is no part of the logits"
    ratio = weights.log() - weights.log()[..., :1]
    want = (logits - logits[..., :1]) / 2
    expect_close(ratio, want, what=f"log(weight_j / weight_0) of the {half} for head_dim 4", hint=hint)


@pytest.mark.stage(1)
def test_training_moves_the_new_layers_and_nothing_else(rng):
    """AdamW with weight decay over *all* parameters, as people call it: what has no gradient must not move."""
    layer, projection = attention(rng), ImageProjection(8, 7, 3).double()
    x, context, _ = inputs(rng)
    embedding, slope = randn(rng, 2, 8), randn(rng, 2, 4, 5)
    parameters = dict(layer.named_parameters()) | dict(projection.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)
    backward((layer(x, context, projection(embedding)) * slope).sum())
    optimizer.step()
    moved = sorted(name for name, p in parameters.items() if not torch.equal(p, before[name]))
    want = sorted([*NEW, "proj.weight", "proj.bias", "norm.weight", "norm.bias"])
    hint = "freeze to_q, to_k, to_v and to_out; detach neither image_tokens nor the image's keys and values"
    expect_equal(moved, want, what="the parameters that one training step has moved", hint=hint)


# Stage 2: any sizes, the scale, wrong arguments

SIZES = [(2, 4, 6, 3), (3, 3, 3, 3), (1, 5, 2, 1), (4, 1, 4, 16)]  # batch, queries, keys, tokens


@pytest.mark.stage(2)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_samples_and_queries_do_not_see_each_other(rng, sizes):
    """Each sample has a text and an image of its own, and each query is answered as if it were alone."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng, *sizes)
    with expect_unchanged(x, context, image_tokens, what="an argument"):
        got = layer(x, context, image_tokens)
    expect_equal(list(got.shape), [*sizes[:2], 5], what="the output's shape", hint="one answer for each query")
    for row in range(sizes[0]):
        one = slice(row, row + 1)
        for n in range(sizes[1]):
            want = layer(x[one, n : n + 1], context[one], image_tokens[one])
            hint = "swap the axes of heads and tokens when splitting, and back before joining"
            expect_close(got[one, n : n + 1], want, what=f"query {n} of sample {row}, computed alone", hint=hint)


@pytest.mark.stage(2)
def test_each_head_works_alone_on_its_block(rng):
    """3 heads are 3 one-head layers, each with its blocks of the weights, added up, for text and image alike."""
    layer, given = attention(rng, heads=3, head_dim=2), inputs(rng)
    total = layer.to_out.bias.detach()
    for head in range(3):
        block = slice(2 * head, 2 * head + 2)
        rows = {name: getattr(layer, name).weight[block] for name in ("to_q", *FROM_TEXT, *FROM_IMAGE)}
        single = fill(attention(rng, 5, 7, 1, 2), **rows, to_out=layer.to_out.weight[:, block], bias=0.0)
        total = total + single(*given)
    hint = "the root is of head_dim; [batch, n, heads * head_dim] -> [batch, n, heads, head_dim] -> swap n and heads"
    expect_close(layer(*given), total, what="3 heads, against 3 layers of one head", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("scale", [-1.0, 0.25, 1.0, 3.0])
def test_the_output_is_affine_in_the_scale(rng, scale):
    """Twice the scale is twice the change: no clamping, no (1 - scale) on the text, no scale inside a softmax."""
    layer, given = attention(rng, scale=scale), inputs(rng)
    got = change(layer, *given)
    layer.scale = 0.5
    want = 2 * scale * change(layer, *given)
    hint = "text + scale * image: scale multiplies the image's answers and nothing else"
    expect_close(got, want, what=f"what the image adds at scale {scale}, against scale 0.5", hint=hint)


@pytest.mark.stage(2)
def test_the_scale_can_be_changed_later(rng):
    """A slider at sampling: set as an attribute, it counts at once, for this layer only, and 1 is the default."""
    layer, given = attention(rng, scale=0.2), inputs(rng)
    other, hint = attention(rng, scale=0.2), "read self.scale in forward"
    before = other(*given).detach()
    layer.scale = 0.9
    fresh = attention(rng, scale=0.9)
    fresh.load_state_dict(layer.state_dict())
    expect_close(layer(*given), fresh(*given), what="the output after layer.scale = 0.9", hint=hint)
    expect_close(other(*given), before, what="the output of another layer", hint="keep scale on self")
    expect_equal(DecoupledCrossAttention(5, 7, 2, 3).scale, 1.0, what="the default scale")


@pytest.mark.stage(2)
def test_image_tokens_are_a_set(rng):
    """Another order of the tokens, or every token twice, changes nothing: there are no positions among them."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng, tokens=4)
    want, hint = (
        layer(x, context, image_tokens),
        "no causal mask and no positions; a softmax over the image tokens alone",
    )
    got = layer(x, context, image_tokens[:, [2, 0, 3, 1]])
    expect_close(got, want, what="the output for image tokens in another order", hint=hint)
    got = layer(x, context, image_tokens.repeat(1, 2, 1))
    expect_close(got, want, what="the output for every image token twice", hint=hint)
    got = layer(x, context.flip(1), image_tokens)
    expect_close(got, want, what="the output for text tokens in another order", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("sizes", [(5, 4, 3), (4, 4, 4), (3, 6, 1)], ids=str)
def test_each_image_has_its_own_tokens(rng, sizes):
    """Every row of the batch as if it were alone, at image_dim == context_dim == tokens == batch, too."""
    layer, embedding = ImageProjection(*sizes).double(), randn(rng, 4, sizes[0])
    with expect_unchanged(embedding, what="the image embedding"):
        got = layer(embedding)
    expect_equal(
        list(got.shape), [4, sizes[2], sizes[1]], what="the tokens' shape", hint="[batch, tokens, context_dim]"
    )
    for row in range(4):
        want = layer(embedding[row : row + 1])[0]
        expect_close(got[row], want, what=f"the tokens of image {row}, computed alone", hint="keep the batch first")


@pytest.mark.stage(2)
def test_wrong_sizes_are_errors():
    """No tokens, or no heads, would give an empty answer without a word."""
    for tokens in (0, -1):
        with expect_raises(ValueError, what=f"ImageProjection(5, 4, tokens={tokens})"):
            ImageProjection(5, 4, tokens)
    for heads, head_dim in ((0, 3), (2, 0), (-1, 3)):
        with expect_raises(ValueError, what=f"DecoupledCrossAttention(5, 7, heads={heads}, head_dim={head_dim})"):
            DecoupledCrossAttention(5, 7, heads, head_dim)
    narrow = DecoupledCrossAttention(5, 7, 1, 1).to_q.weight
    expect_equal(list(narrow.shape), [1, 5], what="to_q's shape with one head of width 1", hint="1 is allowed")


# Stage 3: numerics, dtypes, gradients


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Both modules, one after the other. Tolerance: 40 roundings of the largest number on the way."""
    exact, projecting = attention(rng), ImageProjection(6, 7, 3).double()
    x, context, embedding = (t.to(dtype) for t in (randn(rng, 2, 4, 5) / 4, randn(rng, 2, 6, 7) / 4, randn(rng, 2, 6)))
    layer, projection = DecoupledCrossAttention(5, 7, 2, 3, 0.7).to(dtype), ImageProjection(6, 7, 3).to(dtype)
    for low, high in ((layer, exact), (projection, projecting)):
        low.load_state_dict(high.state_dict())
        high.load_state_dict(low.state_dict())  # the same numbers in float64
    tokens, want = projection(embedding), projecting(embedding.double())
    close = {"rtol": 0.0, "atol": 40 * torch.finfo(dtype).eps * want.abs().max().item()}
    expect_close(tokens, want.to(dtype), what=f"the image tokens in {dtype}", **close)
    size = max(exact.to_v(context.double()).abs().max(), exact.to_v_image(want).abs().max())
    close["atol"] = 40 * torch.finfo(dtype).eps * (size * exact.to_out.weight.abs().sum(1).max()).item()
    want = exact(x.double(), context.double(), tokens.double()).to(dtype)
    expect_close(layer(x, context, tokens), want, what=f"the output in {dtype}", **close)


@pytest.mark.stage(3)
def test_huge_logits_stay_finite(rng):
    """exp(1e5) overflows in any dtype; a softmax that subtracts the maximum does not mind."""
    layer, (x, context, image_tokens) = attention(rng).float(), (t.float() for t in inputs(rng))
    got = layer(1e3 * x, 1e2 * context, 1e2 * image_tokens)
    expect(got.isfinite().all(), "the output for logits around 1e5 should be finite, but is not", hint="torch.softmax")


@pytest.mark.stage(3)
def test_gradients_are_those_of_the_function(rng):
    """Finite differences in float64, for x, the text, the image tokens and the new weights. The frozen layers' weights
    get none, but gradients pass through them: earlier adapters in a U-Net learn that way."""
    layer = attention(rng, 3, 2, 2, 2)
    given = tuple(t / 2 for t in inputs(rng, 2, 3, 4, 3, 3, 2))

    def forward(x, context, image_tokens, k, v):
        weights = dict(layer.named_parameters()) | {"to_k_image.weight": k, "to_v_image.weight": v}
        return torch.func.functional_call(layer, weights, (x, context, image_tokens))

    leaves = [t.detach().clone().requires_grad_() for t in (*given, layer.to_k_image.weight, layer.to_v_image.weight)]
    expect(forward(*leaves).requires_grad, "the output should be differentiable, but has no gradient at all")
    right = torch.autograd.gradcheck(forward, leaves, raise_exception=False)
    hint = "freeze parameters with requires_grad_(False); no detach() and no torch.no_grad() in forward"
    expect(right, "gradients should agree with finite differences, but do not", hint=hint)


@pytest.mark.stage(3)
def test_a_loaded_checkpoint_stays_frozen(rng):
    """The pretrained weights are loaded into the frozen layers: nothing about training changes, and no name clashes."""
    layer, pretrained = attention(rng), {name: p.detach() for name, p in attention(rng).named_parameters()}
    report = layer.load_state_dict({name: pretrained[name] for name in FROZEN}, strict=False)
    what, hint = "the keys missing from a text-only checkpoint", "the image's layers have names of their own"
    expect_equal(sorted(report.missing_keys), NEW, what=what, hint=hint)
    backward(layer(*inputs(rng)).sum())
    got = sorted(name for name, p in layer.named_parameters() if p.grad is not None)
    expect_equal(got, NEW, what="the parameters with a gradient after loading", hint="freeze in the constructor")


# Stage 4: cost


@pytest.mark.stage(4)
def test_queries_are_projected_once(rng, cost):
    """FLOPs: six projections and two products each for text and image. A second to_q or to_out costs a multiple of
    what the 4 image tokens cost. (A fused attention kernel's own FLOPs may go uncounted: only an upper limit.)"""
    layer = DecoupledCrossAttention(32, 48, 4, 16)
    x, context, image_tokens = (t.float() for t in inputs(rng, 2, 64, 77, 4, 32, 48))
    with cost() as projections, torch.no_grad():
        nn.functional.linear(x, layer.to_q.weight)
        nn.functional.linear(torch.zeros(2, 64, 64), layer.to_out.weight)
        for tokens in (context, context, image_tokens, image_tokens):
            nn.functional.linear(tokens, layer.to_k.weight)
    with cost() as spent:
        layer(x, context, image_tokens)
    most = 1.02 * (projections.flops + 2 * 2 * 2 * 64 * (77 + 4) * 64)
    ratio = spent.flops / projections.flops
    expect(ratio >= 0.99, f"torch operators should do the projections, but only {ratio:.2f}x their FLOPs were seen")
    sentence = f"forward should cost at most {most:.3g} FLOPs, but cost {spent.flops:.3g}"
    expect(spent.flops <= most, sentence, hint="both halves share the queries, and to_out takes their sum")


@pytest.mark.stage(4)
def test_operators_do_not_grow_with_the_batch(rng, cost):
    """A python loop over samples would launch kernels one by one. (One over heads is slow, too, but passes.)"""
    layer, projection, counts = attention(rng), ImageProjection(8, 7, 3).double(), []
    for batch in (2, 16):
        x, context, _ = inputs(rng, batch)
        with cost() as spent:
            layer(x, context, projection(randn(rng, batch, 8)))
        counts.append(spent.operators)
    sentence = f"16 samples should take about as many operators as 2 ({counts[0]}), but took {counts[1]}"
    expect(counts[1] <= counts[0] + 20, sentence, hint="work on all samples at once")
