"""Stage 3. Generation."""

import pytest
import torch

from dojo.testing import (
    HALVES,
    called_for,
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_no_graph,
    expect_raises,
    expect_seeded,
    expect_unchanged,
)
from dojo.testing.modules import fill
from katas.gpt_model import generate

from .helpers import LENGTH, logits_of, random_model, texts, with_spies


def greedy(model, tokens, most):
    """What greedy decoding by the model's own logits gives."""
    for _ in range(most):
        logits = logits_of(model, tokens[:, -LENGTH:])[:, -1]
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)
    return tokens


def lively_model(rng, dtype=torch.float64, **sizes):
    """A model whose blocks say more than the last token, so that texts do not soon repeat themselves."""
    model = random_model(rng, dtype, **{"vocab": 29} | sizes)
    for weight in (model.blocks[0].attention.out.weight, model.blocks[0].mlp.down.weight):
        fill(weight, 4 * weight.detach())
    fill(model.norm.weight, 1.0)
    fill(model.norm.bias, 0.0)
    return model


@pytest.mark.parametrize("n", [1, 3])
def test_temperature_zero_takes_the_largest_logit(rng, n):
    """At the last place, and then at the new one. The prompt comes first in the answer."""
    model, tokens = lively_model(rng), texts(rng, 12, n, 29)
    with expect_unchanged(tokens, what="the prompt"):
        got = generate(model, tokens, 3, temperature=0.0)
    what = f"three greedy tokens after {n}"
    expect_equal(got, greedy(model, tokens, 3), what=what, hint="argmax of the logits at the last place, then append")


def test_no_new_tokens_are_the_prompt(rng):
    """max_new_tokens is a number of rounds."""
    tokens = texts(rng)
    expect_equal(generate(random_model(rng), tokens, 0), tokens, what="the answer with max_new_tokens=0")


@pytest.mark.parametrize("n", [2, LENGTH + 3])
def test_the_model_is_fed_the_end_of_the_text(rng, n):
    """All of it, up to max_length tokens: with spies in the place of the blocks, which keep what they read."""
    model, tokens = with_spies(random_model(rng)), texts(rng, 4, n)
    hint = "feed tokens[:, -max_length:], and append to the whole text"
    with called_for(f"a prompt of {n} tokens and 6 new ones, with max_length={LENGTH}", hint=hint):
        got = generate(model, tokens, 6)
    expect_equal(list(got.shape), [4, n + 6], what=f"the shape of 4 texts of {n} tokens and 6 new ones")
    inputs = model.blocks[0].inputs
    expect_equal(len(inputs), 6, what="the number of forward passes for six tokens", hint="one for each new token")
    for step, x in enumerate(inputs):
        window = got[:, max(0, n + step - LENGTH) : n + step]
        want = model.token.weight.detach()[window] + model.position.weight.detach()[: window.shape[1]]
        expect_close(x, want, what=f"what the first block reads for new token {step} after {n}", hint=hint)


@pytest.mark.parametrize("n", [2, LENGTH, LENGTH + 3])
def test_a_long_text_is_fed_by_its_end(rng, n):
    """The last max_length tokens, of the prompt as of what was added; the answer keeps all of them."""
    model, tokens = lively_model(rng), texts(rng, 12, n, 29)
    hint = "feed tokens[:, -max_length:], and append to the whole text"
    with called_for(f"a prompt of {n} tokens and 6 new ones, with max_length={LENGTH}", hint=hint):
        got = generate(model, tokens, 6, temperature=0.0)
    expect_equal(got, greedy(model, tokens, 6), what=f"six greedy tokens after {n}", hint=hint)


def soft_model(rng, dtype=torch.float64):
    """A model whose logits differ by one or two, so that every token has its chance."""
    model = random_model(rng, dtype, vocab=5)
    fill(model.norm.weight, model.norm.weight.detach().sign() * 0.4)
    fill(model.norm.bias, 0.0)
    return model


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_token_is_drawn_by_its_probability(rng, temperature):
    """softmax(logits / temperature) at the last place. Chi-square over 1500 rows; false alarm 1e-6."""
    model, prompt = soft_model(rng), texts(rng, 1, 4, 5)
    probs = (logits_of(model, prompt)[0, -1].detach() / temperature).softmax(-1)
    got = generate(model, prompt.expand(1500, -1), 1, temperature=temperature, generator=rng)
    expect_equal(list(got.shape), [1500, 5], what="the shape of 1500 texts of 4 tokens and a new one")
    hint = "softmax of the last place's logits over the vocabulary, divided by the temperature before; each row draws"
    expect_distribution(got[:, -1], probs, what=f"new tokens at temperature {temperature}", hint=hint)


@pytest.mark.parametrize("temperature", [1e-4, 1e-5])
def test_a_token_is_drawn_at_small_temperatures_too(rng, temperature):
    """Logits that are as close together as the temperature is small are as open as others are at 1."""
    model, prompt = soft_model(rng), texts(rng, 1, 4, 5)
    fill(model.norm.weight, temperature * model.norm.weight.detach())
    probs = (logits_of(model, prompt)[0, -1].detach() / temperature).softmax(-1)
    got = generate(model, prompt.expand(1500, -1), 1, temperature=temperature, generator=rng)
    expect_equal(list(got.shape), [1500, 5], what="the shape of 1500 texts of 4 tokens and a new one")
    what = f"new tokens at temperature {temperature}, from logits of that size,"
    hint = "divide by the temperature as it is: no lower bound, and argmax at exactly 0 alone"
    expect_distribution(got[:, -1], probs, what=what, hint=hint)


def test_the_temperature_is_one_unless_told(rng):
    """As in training."""
    model, prompt = soft_model(rng), texts(rng, 1, 4, 5)
    probs = logits_of(model, prompt)[0, -1].detach().softmax(-1)
    got = generate(model, prompt.expand(1500, -1), 1, generator=rng)
    expect_distribution(got[:, -1], probs, what="new tokens without a temperature", hint="temperature=1.0")


def test_each_token_of_each_row_is_drawn_by_itself(rng):
    """With an embedding of zeros every token is equally likely, whatever came before. Pairs: 25 equal probabilities."""
    model = soft_model(rng)
    for weight in (model.token.weight, model.head.weight):
        fill(weight, 0.0)
    got = generate(model, texts(rng, 1500, 2, 5), 2, generator=rng)
    expect_equal(list(got.shape), [1500, 4], what="the shape of 1500 texts of 2 tokens and 2 new ones")
    pairs = 5 * got[:, 2] + got[:, 3]
    hint = "one draw for each row and each step: no seeding in between"
    expect_distribution(pairs, torch.full((25,), 1 / 25), what="two new tokens, as 5 a + b,", hint=hint)
    neighbours = 5 * got[::2, 3] + got[1::2, 3]
    what = "the new tokens of two rows, as 5 a + b,"
    expect_distribution(neighbours, torch.full((25,), 1 / 25), what=what, hint=hint)


def test_the_second_token_is_drawn_given_the_first(rng):
    """The text that is fed grows. Its probability is that of the mixture over what was drawn before."""
    model, prompt = soft_model(rng), texts(rng, 1, 2, 5)
    got = generate(model, prompt.expand(1500, -1), 2, generator=rng)
    expect_equal(list(got.shape), [1500, 4], what="the shape of 1500 texts of 2 tokens and 2 new ones")
    one = logits_of(model, prompt)[0, -1].detach().softmax(-1)
    longer = torch.cat([prompt.expand(5, -1), torch.arange(5)[:, None]], 1)
    both = one[:, None] * logits_of(model, longer)[:, -1].detach().softmax(-1)
    pairs = 5 * got[:, 2] + got[:, 3]
    expect_distribution(
        pairs, both.flatten(), what="two new tokens, as 5 a + b,", hint="feed the text with its new token"
    )


def test_the_generator_decides_every_draw(rng):
    """And nothing else does."""
    model, prompt = soft_model(rng), texts(rng, 8, 2, 5)
    expect_seeded(lambda generator: generate(model, prompt, 4, generator=generator), what="the texts")


@pytest.mark.parametrize("training", [True, False], ids=["from training", "from evaluation"])
def test_nothing_is_dropped_while_generating(rng, training):
    """And afterwards the model is in the mode in which it was: a sample between two steps must not end the dropout."""
    model, tokens = lively_model(rng, dropout=0.5), texts(rng, 12, 3, 29)
    want = greedy(model, tokens, 3)
    got = generate(model.train(training), tokens, 3, temperature=0.0)
    expect_equal(
        got, want, what="three greedy tokens with dropout=0.5", hint="model.eval() first: dropout is for training"
    )
    modes = {module.training for module in model.modules()}
    hint = "remember model.training, and model.train(it) at the end"
    expect_equal(modes, {training}, what="`training` of all modules after generate", hint=hint)


def test_each_new_token_takes_one_forward_pass_without_a_graph(rng):
    """A graph would keep the activations of every step alive."""
    model = with_spies(random_model(rng))
    got = generate(model, texts(rng, 2, 3), 4)
    (first, *_) = model.blocks
    lengths = [x.shape[1] for x in first.inputs]
    hint = "one pass over the whole text for each new token, and none after the last"
    expect_equal(lengths, [3, 4, 5, 6], what="the lengths of the texts that the blocks read", hint=hint)
    graphs = set(first.graphs)
    hint = "with torch.no_grad(): around the loop"
    expect_equal(graphs, {False}, what="whether what the blocks read requires a gradient", hint=hint)
    expect_no_graph(got, what="the text")


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_small_temperatures_work_in_every_dtype(rng, dtype):
    """They draw the largest logit. In float16 logits / 1e-6 is infinite, and its softmax NaN."""
    model, tokens = lively_model(rng, dtype), texts(rng, 12, 3, 29)
    two = logits_of(model, tokens)[:, -1].float().topk(2).values
    sure = two[:, 0] - two[:, 1] > 1e-3
    for temperature in (1e-5, 1e-6):
        with called_for(f"{dtype}, temperature={temperature}", hint="divide float32 numbers, the largest one being 0"):
            got = generate(model, tokens, 1, temperature=temperature)
        what = f"the new token in {dtype} at temperature {temperature}"
        expect_equal(got[sure], greedy(model, tokens, 1)[sure], what=what, hint="divide in float32")
    got = generate(model, tokens, 2)
    in_vocabulary = bool(((got >= 0) & (got < 29)).all())
    expect(in_vocabulary, f"the texts in {dtype} should hold tokens 0 to 28, but hold others")
    expect_equal(got.dtype, torch.int64, what="the dtype of the text")


@pytest.mark.parametrize(("new", "temperature"), [(-1, 1.0), (2, -0.5), (2, float("nan"))], ids=str)
def test_wrong_numbers_are_errors_and_leave_the_mode(rng, new, temperature):
    """A negative temperature would prefer the least likely tokens, and say nothing."""
    model = random_model(rng).train()
    with expect_raises(ValueError, what=f"max_new_tokens={new}, temperature={temperature}"):
        generate(model, texts(rng), new, temperature=temperature)
    expect_equal(model.training, True, what="`training` after the error", hint="look at the arguments first")
