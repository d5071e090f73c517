"""Stage 3. Prompts in chunks, the token budget."""

import pytest

from dojo.testing import expect_equal, randint
from katas.continuous_batching import Request

from .helpers import Server, expect_steps, next_token, request


def test_a_long_prompt_is_computed_in_chunks(rng):
    """Ten tokens at a budget of four: 4, 4, 2. Only the last chunk gives a token."""
    server = Server(request(rng, 0, 10, 3), token_budget=4)
    server.step(2)
    hint = "what the model returns for the middle of a prompt is dropped"
    expect_equal(server.engine.outputs[0], [], what="outputs[0] after 8 of 10 tokens of the prompt", hint=hint)
    server.finish()
    expect_steps(server, [{0: (0, 4)}, {0: (4, 4)}, {0: (8, 2)}, {0: (10, 1)}, {0: (11, 1)}])


def test_eos_for_the_middle_of_a_prompt_means_nothing():
    """It is dropped like any other token that the model returns there."""
    prompt = (3, 1, 4, 1)
    Server(Request(0, prompt, 3), token_budget=2, eos_token=next_token(prompt[:2])).finish()


def test_the_first_token_comes_after_so_many_steps(rng):
    """ceil(prompt / budget), for a request alone."""
    for prompt, budget in ((1, 1), (5, 1), (12, 4), (13, 4), (4, 9), (9, 9)):
        server = Server(request(rng, 0, prompt, 2), token_budget=budget)
        server.finish()
        expect_equal(len(server.steps), -(-prompt // budget) + 1, what=f"the number of steps, {prompt=}, {budget=}")


def test_decodes_go_on_beside_a_long_prefill(rng):
    """The old request gets a token in every step; the long prompt gets the rest of the budget."""
    server = Server(request(rng, 0, 2, 6), request(rng, 1, 11, 2), token_budget=4)
    server.finish()
    wanted = [
        {0: (0, 2), 1: (0, 2)},
        {0: (2, 1), 1: (2, 3)},
        {0: (3, 1), 1: (5, 3)},
        {0: (4, 1), 1: (8, 3)},
        {0: (5, 1), 1: (11, 1)},
        {0: (6, 1)},
    ]
    expect_steps(server, wanted, "decodes first, then prefills with what is left of the budget")


def test_the_rest_of_the_budget_goes_to_the_next_in_the_queue(rng):
    """6 + 4 tokens, then 1 + 2 + 6, then three decodes."""
    server = Server(*(request(rng, id, 6, 3) for id in range(3)), token_budget=10)
    server.step(3)
    wanted = [{0: (0, 6), 1: (0, 4)}, {0: (6, 1), 1: (4, 2), 2: (0, 6)}, {0: (7, 1), 1: (6, 1), 2: (6, 1)}]
    expect_steps(server, wanted, "admit while any budget is left; the last chunk may be a part of a prompt")
    server.finish()


def test_the_budget_counts_tokens(rng):
    """Two prompts of four do not fit into five tokens, four places or not."""
    server = Server(request(rng, 0, 4, 2), request(rng, 1, 4, 2), max_batch=4, token_budget=5)
    server.finish()
    expect_steps(server, [{0: (0, 4), 1: (0, 1)}, {0: (4, 1), 1: (1, 3)}, {1: (4, 1)}])


def test_nobody_is_admitted_when_the_budget_is_used_up(rng):
    """The prompt fits exactly; the next request waits, with a place free."""
    server = Server(request(rng, 0, 4, 1), request(rng, 1, 3, 1), token_budget=4)
    server.finish()
    expect_steps(server, [{0: (0, 4)}, {1: (0, 3)}], "a chunk has at least one token")


def test_the_budget_of_one_step_is_new_in_the_next(rng):
    """Three decodes at a budget of three leave nothing for a fourth request."""
    server = Server(*(request(rng, id, 1, 3) for id in range(5)), token_budget=3)
    server.finish()
    first = {id: (0, 1) for id in range(3)}
    expect_equal(server.steps[0], first, what="the chunks of step 1")
    expect_equal(len(server.steps), 6, what="the number of steps")


def test_a_budget_of_one_token_serves_all(rng):
    """One token a step: the slowest server that there is."""
    server = Server(*(request(rng, id, 3, 3) for id in range(3)), token_budget=1)
    server.finish()
    expect_equal(len(server.steps), 3 * 5, what="the number of steps")


def test_a_short_prompt_does_not_overtake_a_long_one(rng):
    """It would fit into what is left of the budget, or end at once. First come, first served."""
    server = Server(request(rng, 0, 3, 2), request(rng, 1, 20, 2), request(rng, 2, 1, 2), token_budget=6)
    server.finish()
    first = {id: next(number for number, step in enumerate(server.steps) if id in step) for id in range(3)}
    expect_equal(first[1] < first[2], True, what="whether the long prompt begins before the short one behind it")


def test_a_prefill_that_ends_counts_for_its_own_request(rng):
    """In one step: a decode, the last part of a prompt, the first of another."""
    server = Server(*(request(rng, id, size, 4) for id, size in enumerate((3, 7, 9, 2))), token_budget=6, max_batch=3)
    server.finish()


@pytest.mark.parametrize("budget", [2, 5, 11])
def test_answers_do_not_depend_on_the_limits(rng, budget):
    """Random requests, which arrive while others run."""
    for places in (1, 3, 6):
        sizes = zip(randint(rng, 1, 15, 8).tolist(), randint(rng, 1, 7, 8).tolist(), strict=True)
        requests = [request(rng, id, prompt, new) for id, (prompt, new) in enumerate(sizes)]
        server = Server(*requests[:4], max_batch=places, token_budget=budget)
        for late in requests[4:]:
            server.step(2)
            server.add(late)
        server.finish()


def test_every_token_is_computed_once(rng):
    """With room for all: the prompts, and the outputs but for the last token of each."""
    sizes = [(9, 3), (2, 5), (14, 1), (1, 4)]
    server = Server(*(request(rng, id, *size) for id, size in enumerate(sizes)), token_budget=5)
    server.finish()
    total = sum(size for step in server.steps for _, size in step.values())
    expect_equal(total, sum(prompt + new - 1 for prompt, new in sizes), what="the number of tokens computed")
