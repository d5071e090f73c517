"""Stage 2. The tied head, the initialisation, lengths, dropout, wrong arguments."""

import copy
import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, gradients, randint
from katas.gpt_model import GPT

from .helpers import LENGTH, VOCAB, built, config, logits_of, random_model, shapes, texts, with_spies

LARGE = {"vocab": 1000, "max_length": 200, "layers": 2, "heads": 4, "dim": 64}


def is_tied(model):
    return model.head.weight is model.token.weight


def test_the_head_is_the_embedding():
    """One parameter: a copy, or its data, would drift away at the first step, or be lost with the next .to()."""
    hint = "self.head.weight = self.token.weight, the parameter itself, not .data and no copy"
    model = built()
    expect(is_tied(model), "head.weight should be token.weight, but is another parameter", hint=hint)
    count = sum(p.numel() for p in model.parameters())
    want = sum(math.prod(shape) for name, shape in shapes().items() if name != "head.weight")
    expect_equal(count, want, what="the number of parameters, the tied one once", hint=hint)


def test_the_state_dict_holds_nothing_but_the_parameters():
    """A buffer of positions there changes every checkpoint, and refuses one from a model without it."""
    more = sorted(set(built().state_dict()) - set(shapes()))
    hint = "a buffer wants persistent=False, or is made in forward"
    expect_equal(more, [], what="the names in the state_dict beside those of the docstring", hint=hint)


def test_the_head_stays_tied(rng):
    """In a copy, in another dtype, and in a model that has loaded a checkpoint, which gives the same logits."""
    model, tokens = random_model(rng), texts(rng)
    other = GPT(config()).double().eval()
    other.load_state_dict(model.state_dict())
    others = {"a deepcopy": copy.deepcopy(model), "a model that has loaded its state_dict": other}
    for name, each in others.items():
        expect(is_tied(each), f"the head should stay tied in {name}, but is not", hint="tie the parameter, once")
        expect_close(logits_of(each, tokens), logits_of(model, tokens), what=f"the logits of {name}")
    moved = copy.deepcopy(model).half().double()
    expect(is_tied(moved), "the head should stay tied after .half().double(), but is not", hint="tie the parameter")


def test_a_step_moves_token_and_head_together(rng):
    """The gradient has two parts: that of the rows that were read, and that of the head, which reaches every token."""
    model = random_model(rng)
    gradients.backward(model.loss(torch.tensor([[0, 1, 2]])), what="the loss")
    grad = model.token.weight.grad
    expect(grad is not None, "token.weight should get a gradient, but gets none", hint="do not detach it")
    reached = (grad != 0).any(-1).tolist()
    what = "which tokens' embeddings get a gradient from the text 0 1 2"
    expect_equal(reached, [True] * VOCAB, what=what, hint="the head is the embedding; every token has a logit")


def of_kind(model, *ends):
    named = model.named_parameters(remove_duplicate=False)  # a tied one has two names
    return {name: p.detach() for name, p in named if name.endswith(tuple(ends))}


def expect_normal(weights, std, *, hint):
    """Each of them is drawn from Normal(0, std). Tolerances: six standard errors of each estimate, so that a right
    initialisation fails once in 10^8 times."""
    for name, weight in weights.items():
        n = weight.numel()
        got = weight.square().mean().sqrt().item()
        slack = 6 / math.sqrt(2 * n)
        sentence = f"the standard deviation of {name} should be {std:.5f} within {100 * slack:.1f} %, but is {got:.5f}"
        expect(abs(got / std - 1) <= slack, sentence, hint=hint)
        mean = weight.mean().item()
        expect(
            abs(mean) <= 6 * std / math.sqrt(n), f"the mean of {name} should be about 0, but is {mean:.5f}", hint=hint
        )
        far = (weight.abs() > 2 * std).double().mean().item()
        sentence = f"{name} should be normal, with 4.6 % beyond two standard deviations, but {100 * far:.1f} % are"
        expect(
            abs(far - 0.0455) <= 6 * math.sqrt(0.0455 / n), sentence, hint="nn.init.normal_, neither cut nor uniform"
        )


def test_embeddings_start_small():
    """Normal(0, 0.02). With torch's own N(0, 1) and a tied head the first loss is in the hundreds."""
    hint = "nn.init.normal_(weight, std=0.02): the deviation, not the variance; torch's Embedding starts with 1"
    expect_normal(of_kind(built(**LARGE), "token.weight", "position.weight"), 0.02, hint=hint)


def test_linear_layers_start_with_the_same_deviation():
    """qkv and up, in every block."""
    hint = "nn.init.normal_(weight, std=0.02) for every Linear: a named_modules() loop finds those in the blocks"
    expect_normal(of_kind(built(**LARGE), "qkv.weight", "up.weight"), 0.02, hint=hint)


@pytest.mark.parametrize("layers", [2, 3])
def test_the_last_layer_of_each_branch_starts_smaller(layers):
    """2 layers branches are added to one stream, so each starts smaller by the root of their number."""
    hint = "two branches in each block: std=0.02 / sqrt(2 * layers), for attention.out and mlp.down only"
    model = built(**LARGE | {"layers": layers, "vocab": 10})
    expect_normal(of_kind(model, "attention.out.weight", "mlp.down.weight"), 0.02 / math.sqrt(2 * layers), hint=hint)


def test_biases_start_at_zero_and_norms_at_one():
    """A norm's weight is no Linear's: it starts at 1."""
    for name, values in of_kind(built(), "bias").items():
        expect_close(values, torch.zeros_like(values), what=f"{name} at the start", hint="nn.init.zeros_(bias)")
    for name, values in of_kind(built(), "norm.weight", "norm1.weight", "norm2.weight").items():
        expect_close(values, torch.ones_like(values), what=f"{name} at the start", hint="LayerNorms keep their start")


def test_blocks_start_differently():
    """Copies of one block have equal weights, and would have equal gradients for long."""
    weights = list(of_kind(built(layers=3), "qkv.weight", "up.weight").values())
    for one, other in zip(weights[:-2], weights[2:], strict=True):
        expect(not torch.equal(one, other), "each block should draw its own weights, but two blocks' are equal")


def test_before_training_the_loss_is_that_of_knowing_nothing(rng):
    """ln(vocab) = 6.908 for 1000 tokens, a little more for the logits' small variance. A number to know by heart."""
    tokens = randint(rng, 0, 1000, 8, 32)
    got = built(**LARGE).eval().loss(tokens)
    want = torch.tensor(math.log(1000))
    hint = "small embeddings give small logits, and those nearly equal probabilities"
    expect_close(got, want, what="the first loss of a vocabulary of 1000", hint=hint, rtol=0.0, atol=0.1)


@pytest.mark.parametrize("n", [1, LENGTH], ids=["one token", "max_length tokens"])
def test_the_shortest_and_the_longest_text_have_logits(rng, n):
    """A text of one token is a prompt like any other."""
    model, tokens = random_model(rng), texts(rng, 3, LENGTH)
    got, want = logits_of(model, tokens[:, :n]), logits_of(model, tokens)[:, :n]
    expect_close(got, want, what=f"the logits of {n} tokens", hint="positions begin at 0 in every text")


def dropped(rng, training, dropout=0.5):
    """What the first block reads in a model with dropout, and the same without."""
    model = with_spies(random_model(rng, dropout=dropout)).train(training)
    tokens = texts(rng, 64, LENGTH)
    logits_of(model, tokens)
    (x,) = model.blocks[0].inputs
    return x, model.token.weight.detach()[tokens] + model.position.weight.detach()


def test_nothing_is_dropped_in_evaluation(rng):
    """F.dropout drops unless it is told not to, in evaluation too."""
    hint = "an nn.Dropout, or F.dropout(x, p, self.training)"
    x, whole = dropped(rng, training=False)
    expect_close(x, whole, what="what the first block reads in evaluation, with dropout=0.5", hint=hint)


def test_no_block_drops_anything_in_evaluation(rng):
    """Two calls give the same logits, and those of a model without dropout."""
    hint = "dropout belongs to training alone"
    model, plain, tokens = random_model(rng, layers=2, dropout=0.5), built(layers=2).double().eval(), texts(rng)
    plain.load_state_dict(model.state_dict())
    for one, other in zip(model.blocks, plain.blocks, strict=True):
        x = other.norm1.weight.detach() * torch.ones(2, 3, 1, dtype=torch.float64)
        expect_close(one(x), other(x), what="a block's answers in evaluation, with dropout=0.5", hint=hint)
    expect_close(logits_of(model, tokens), logits_of(model, tokens), what="the same logits a second time", hint=hint)


@pytest.mark.parametrize("dropout", [0.25, 0.5])
def test_the_sum_of_the_embeddings_is_dropped_in_training(rng, dropout):
    """3072 numbers: the share that is dropped stays within six standard errors, 6 sqrt(p (1 - p) / 3072)."""
    x, whole = dropped(rng, training=True, dropout=dropout)
    kept = x != 0
    share = 1 - kept.double().mean().item()
    slack = 6 * math.sqrt(dropout * (1 - dropout) / x.numel())
    sentence = f"a share of {dropout} should be dropped within {slack:.3f}, but {share:.3f} is"
    hint = "dropout on token + position, with the config's probability"
    expect(abs(share - dropout) <= slack, sentence, hint=hint)
    want = torch.where(kept, whole / (1 - dropout), 0.0)
    expect_close(x, want, what=f"what the first block reads in training, with dropout={dropout}", hint=hint)


def test_nothing_is_dropped_behind_the_blocks(rng):
    """The head reads the norm of what the last block gave, in training as in evaluation."""
    model = with_spies(random_model(rng, dropout=0.5)).train()
    logits = logits_of(model, texts(rng))
    (x,) = model.blocks[0].inputs
    hint = "dropout on the sum of the embeddings, and in the blocks, nowhere else"
    want = model.norm(x) @ model.head.weight.T
    expect_close(logits, want, what="the logits in training, with dropout=0.5", hint=hint)


def test_the_blocks_drop_in_training(rng):
    """They get the config's probability too."""
    for block in random_model(rng, layers=2, dropout=0.5).train().blocks:
        x = torch.ones(2, 3, 8, dtype=torch.float64)
        alike = torch.equal(block(x), block(x))
        sentence = "a block's answers in training should differ from call to call, but two are equal"
        expect(not alike, sentence, hint="Block(dim, heads, dropout): pass the config's dropout on")


def test_the_mode_is_the_callers(rng):
    """Neither forward nor loss changes it."""
    for training in (True, False):
        model = with_spies(random_model(rng)).train(training)
        logits_of(model, texts(rng))
        model.loss(texts(rng))
        modes = {module.training for module in model.modules()}
        expect_equal(modes, {training}, what="`training` of all modules after forward and loss")


@pytest.mark.parametrize("n", [0, LENGTH + 1, 2 * LENGTH])
def test_a_text_without_tokens_or_with_too_many_is_an_error(rng, n):
    """A position that does not exist is an IndexError on a CPU, and on a GPU an assertion that ends the process."""
    with expect_raises(ValueError, what=f"a text of {n} tokens for max_length={LENGTH}", hint="check n in forward"):
        random_model(rng)(texts(rng, 2, n))


@pytest.mark.parametrize("n", [0, 1])
def test_the_loss_of_a_text_without_a_next_token_is_an_error(rng, n):
    """A mean over nothing is NaN, and after the next step so are all weights."""
    with expect_raises(ValueError, what=f"the loss of a text of {n} tokens", hint="n must be at least 2"):
        random_model(rng).loss(texts(rng, 2, n))
