"""Stage 4. The loop, with its calls counted; what a check costs."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    expect,
    expect_distribution,
    expect_equal,
    expect_flat_operators,
    expect_raises,
    expect_seeded,
    expect_traffic,
    measure,
    numbers,
    randint,
)
from katas.speculative_decoding import speculative_generate, verify

from .helpers import Model, distributions, drawn, greedy, models, one_hot, stepping


@pytest.mark.parametrize("gamma", [0, 1, 4])
@pytest.mark.parametrize("most", [0, 1, 7])
def test_a_greedy_target_says_what_it_says_alone(rng, gamma, most):
    """Whatever the draft proposes."""
    target, draft = greedy(rng), greedy(rng)
    wanted = [3, 1]
    for _ in range(most):
        wanted.append(int(target(torch.tensor([wanted]))[0, -1].argmax()))
    found = speculative_generate(target, draft, [3, 1], most, gamma, generator=rng)
    hint = "row i of a model's result belongs to token i + 1: the first row to check is that of the last token known"
    expect_equal(found, wanted[2:], what=f"{most} tokens of a greedy target with gamma = {gamma}", hint=hint)


def test_sequences_follow_the_target(rng):
    """Each token is the last one plus a step: the steps are independent, whatever was drafted, kept and refused."""
    steps, drafted = numbers(0.6, 0.35, 0.05), numbers(0.32, 0.36, 0.32)
    target, draft = stepping(steps, 160), stepping(drafted, 480)
    text = [1, *speculative_generate(target, draft, [1], 160, 3, generator=rng)]
    expect_equal(len(text), 161, what="the number of new tokens, and the prompt's one,")
    found = torch.tensor(text).diff() % 3
    hint = "q is what was drafted from; each round continues what was emitted, and nothing else"
    expect_distribution(found, steps, what="the steps from token to token, modulo 3,", hint=hint)
    pairs = 3 * found[:-1:2] + found[1::2]
    what = "the pairs of steps (3 times the first plus the second)"
    expect_distribution(pairs, steps.outer(steps).flatten(), what=what, hint=hint)


def test_the_target_is_called_once_a_round(rng):
    """With an equal draft every round gives gamma + 1 tokens: 11 rounds for 43."""
    table = distributions(rng, 4, 4, 4)
    target, draft = Model(table), Model(table)
    found = speculative_generate(target, draft, [0], 43, 3, generator=rng)
    expect_equal(len(found), 43, what="the number of new tokens")
    expect_equal({type(token) for token in found}, {int}, what="the types of the new tokens", hint="a list of int")
    hint = "one target call a round; give `verify` the q that was drafted from, and emit all counts[0] tokens"
    expect_equal(len(target.calls), 11, what="the target's calls for 43 tokens with gamma = 3", hint=hint)
    expect(len(draft.calls) <= 33, f"the draft should be called at most 33 times, but was {len(draft.calls)} times")


def test_a_draft_that_is_always_wrong_costs_a_call_for_each_token(rng):
    """It gains nothing, and still gives the target's tokens."""
    never = torch.zeros(4, 4, 4, dtype=torch.float64)
    never[..., 3] = 1
    table = distributions(rng, 4, 4, 4)
    table[..., 3] = 0
    target = Model(table / table.sum(-1, keepdim=True))
    found = speculative_generate(target, Model(never), [0], 5, 2, generator=rng)
    expect_equal((len(found), len(target.calls)), (5, 5), what="new tokens and target calls where nothing is kept")


def test_every_call_continues_what_was_emitted(rng):
    """Refused tokens are gone: a round begins with the prompt and the tokens so far, for draft and target."""
    order = []
    target, draft = models(rng)

    def noted(model, name):
        def call(tokens):
            order.append((name, tokens[0].tolist()))
            return model(tokens)

        return call

    found = speculative_generate(noted(target, "target"), noted(draft, "draft"), [1, 2], 30, 3, generator=rng)
    text = [1, 2, *found]
    begins = [0, *[i + 1 for i, (name, _) in enumerate(order[:-1]) if name == "target"]]
    for at in begins:
        name, tokens = order[at]
        hint = "after a refusal go on from what was emitted; throw the rest of the draft away"
        what = f"the {name}'s tokens at the beginning of a round, of the {len(tokens)} emitted so far"
        expect_equal(tokens[: len(text)], text[: len(tokens)], what=what, hint=hint)


@pytest.mark.parametrize("gamma", [0, 2, 5])
def test_there_are_never_more_tokens_than_asked_for(rng, gamma):
    """Also where a round could give more; and exactly as many without an end."""
    table = distributions(rng, 3, 3, 3)
    for most in (0, 1, 2, 4):
        found = speculative_generate(Model(table), Model(table), [1], most, gamma, generator=rng)
        expect_equal(len(found), most, what=f"the number of new tokens for max_new_tokens={most}, gamma={gamma}")


@pytest.mark.parametrize("gamma", [0, 1, 4])
def test_nothing_comes_after_the_end(gamma):
    """Also where the end was drafted in the middle of a round. It is emitted itself."""
    counting = stepping(one_hot([1], 9)[0], 500)  # 1, 2, 3, ...
    for eos in (1, 2, 4, 6):
        found = speculative_generate(counting, counting, [0], 8, gamma, eos_token=eos)
        hint = "look for eos_token among the tokens of the round, keep it, and stop"
        wanted = list(range(1, eos + 1))
        expect_equal(found, wanted, what=f"8 tokens of 1, 2, 3, ... with eos_token={eos}, gamma={gamma}", hint=hint)


def test_the_end_of_the_prompt_does_not_count(rng):
    """A prompt may hold the token: several turns of a conversation."""
    table = distributions(rng, 4, 4, 4)
    table[..., 3] = 0
    model = Model(table / table.sum(-1, keepdim=True))
    found = speculative_generate(model, model, [3, 1, 3], 6, 2, eos_token=3, generator=rng)
    expect_equal(len(found), 6, what="the number of new tokens after a prompt that ends in eos_token")


def test_the_generator_decides_the_whole_generation(rng):
    """What the draft draws, too."""
    target, draft = models(rng)

    def sample(generator):
        target.calls.clear()
        draft.calls.clear()
        return speculative_generate(target, draft, [1, 2], 12, 3, generator=generator)

    expect_seeded(sample, what="speculative_generate")


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_loop_takes_models_of_every_dtype(rng, dtype):
    """The draft's may be another one."""
    target, draft = greedy(rng, dtype=dtype), greedy(rng, dtype=torch.float32)
    wanted = [2]
    for _ in range(5):
        wanted.append(int(target(torch.tensor([wanted]))[0, -1].argmax()))
    found = speculative_generate(target, draft, [2], 5, 2, generator=rng)
    what = f"5 tokens of a greedy target in {dtype}, with a draft in float32,"
    expect_equal(found, wanted[1:], what=what, hint="the two models' rows go to `verify` as they are")


def test_the_prompt_is_left_alone(rng):
    """The list is the caller's."""
    target, draft = models(rng)
    prompt = [1, 2]
    speculative_generate(target, draft, prompt, 5, 2, generator=rng)
    expect_equal(prompt, [1, 2], what="the caller's prompt after the loop", hint="append to a copy: list(prompt)")


@pytest.mark.parametrize(("prompt", "most", "gamma"), [([], 3, 2), ([1], -1, 2), ([1], 3, -1)])
def test_a_loop_that_cannot_begin_is_an_error(rng, prompt, most, gamma):
    """No prompt, or a negative number. With nothing to write, it ends without a token."""
    target, draft = models(rng)
    with expect_raises(ValueError, what=f"speculative_generate(target, draft, {prompt}, {most}, {gamma})"):
        speculative_generate(target, draft, prompt, most, gamma, generator=rng)
    nothing = speculative_generate(target, draft, [1], 0, 2, generator=rng)
    expect_equal(nothing, [], what="the new tokens for max_new_tokens=0", hint="no round at all")


def test_no_loop_over_rows_or_places(rng):
    """One operator for all of them."""

    def inputs(size):
        batch, gamma = size
        q, p = distributions(rng, batch, gamma, 8), distributions(rng, batch, gamma + 1, 8)
        return drawn(rng, q), q, p

    sizes = [(2, 2), (40, 2), (2, 9)]
    expect_flat_operators(
        verify, inputs, sizes, what="verify", hint="cumprod finds the first refusal in all rows at once"
    )


def test_a_check_reads_the_probabilities_a_few_times(rng):
    """A vocabulary of 4096 for 8 rows: what is gathered is small, and what is summed is read once."""
    q, p = distributions(rng, 8, 4, 4096).float(), distributions(rng, 8, 5, 4096).float()
    drafted = randint(rng, 0, 4096, 8, 4)
    with measure() as spent:
        verify(drafted, q, p, generator=rng)
    both = torch.cat([q, p], dim=1)
    hint = "gather p and q at the drafted tokens, and take the residual only at the place where the row ends"
    expect_traffic(spent, both, 48, what="verify", of="both probabilities", hint=hint)
