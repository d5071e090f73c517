"""Stage 2. Unequal lengths, free places are filled again, late requests, eos, wrong arguments."""

import pytest

from dojo.testing import expect, expect_equal, expect_raises, randint
from katas.continuous_batching import Engine, Request

from .helpers import Server, alone, expect_steps, request

LIMITS = {"max_batch": 2, "token_budget": 8, "kv_capacity": 8}


def test_answers_of_unequal_length_are_those_of_each_request_alone(rng):
    """Who ends leaves the batch, the others go on."""
    sizes = zip(randint(rng, 1, 9, 7).tolist(), [1, 6, 2, 5, 1, 3, 4], strict=True)
    Server(*(request(rng, id, prompt, new) for id, (prompt, new) in enumerate(sizes))).finish()


def test_each_answer_has_its_own_id_whoever_ends_first(rng):
    """The last to arrive is the first to end."""
    Server(*(request(rng, id, 3, 6 - id) for id in range(5))).run()


def test_one_new_token_needs_the_prefill_only():
    """It is there after the first step."""
    server = Server(Request(0, (1, 2, 3), 1))
    expect_equal(server.step(), [0], what="what the first step returns, for max_new_tokens=1")


def test_no_more_requests_than_places(rng):
    """Three places for seven requests."""
    Server(*(request(rng, id, 3, 2) for id in range(7)), max_batch=3).finish()


def test_a_free_place_is_filled_in_the_next_step():
    """Outputs of 1, 5, 1, 5 tokens in two places: 7 steps. A batch that waits for its slowest takes 10."""
    server = Server(*(Request(id, (1, 2, id), new) for id, new in enumerate((1, 5, 1, 5))), max_batch=2)
    server.finish()
    wanted = [
        {0: (0, 3), 1: (0, 3)},
        {1: (3, 1), 2: (0, 3)},
        {1: (4, 1), 3: (0, 3)},
        {1: (5, 1), 3: (3, 1)},
        {1: (6, 1), 3: (4, 1)},
        {3: (5, 1)},
        {3: (6, 1)},
    ]
    expect_steps(server, wanted, "admit in every step, before the model is called")


def test_all_who_end_in_one_step_leave(rng):
    """Neighbours, too: a list from which one removes while one iterates over it skips the next."""
    server = Server(*(request(rng, id, 2, new) for id, new in enumerate((2, 2, 2, 3, 3, 4))), max_batch=4)
    server.finish()
    expect_equal(len(server.steps), 6, what="the number of steps")


def test_one_place_serves_one_after_the_other(rng):
    """In the order of arrival."""
    server = Server(*(request(rng, id, 2, 2) for id in (5, 4, 3)), max_batch=1)
    server.finish()
    wanted = [{id: chunk} for id in (5, 4, 3) for chunk in ((0, 2), (2, 1))]
    expect_steps(server, wanted, "first come, first served")


def test_a_late_request_joins_those_that_run():
    """Its prefill shares a step with their decodes."""
    server = Server(Request(1, (1, 2), 4))
    server.step(2)
    server.add(Request(0, (3, 4, 5), 2))
    server.finish()
    hint = "requests may be added between two steps"
    expect_steps(server, [{1: (0, 2)}, {1: (2, 1)}, {1: (3, 1), 0: (0, 3)}, {1: (4, 1), 0: (3, 1)}], hint)


def test_a_request_after_the_end_is_served(rng):
    """The engine is ready for more, and run returns all."""
    server = Server(request(rng, 1, 3, 2))
    server.run()
    server.add(request(rng, 2, 3, 2))
    server.run()


def test_run_goes_on_when_nobody_runs(rng):
    """The place is empty after each step, while others wait."""
    Server(*(request(rng, id, 3, 1) for id in range(3)), max_batch=1).run()


def test_requests_with_equal_prompts_get_equal_answers():
    """They are two requests, nevertheless."""
    server = Server(*(Request(id, (1, 2, 3), 4) for id in (1, 2)))
    outputs = server.run()
    expect_equal(outputs[1], outputs[2], what="run()[1], of two equal prompts")


@pytest.mark.parametrize("place", [0, 2, 4])
def test_eos_ends_the_answer_and_is_part_of_it(place):
    """In the first, a middle or the last place."""
    prompt = (9, 8, 7)
    answer = alone(Request(0, prompt, 5))
    eos = answer[place]
    server = Server(Request(0, prompt, 5), Request(1, (1, 2), 7), eos_token=eos)
    server.finish()
    wanted = answer[: answer.index(eos) + 1]
    hint = "the answer ends with eos_token, which belongs to it"
    expect_equal(server.engine.outputs[0], wanted, what=f"outputs[0] with eos_token={eos}", hint=hint)


def test_the_place_of_a_request_that_met_eos_is_filled():
    """Its memory is free, too."""
    answer = alone(Request(0, (9, 8, 7), 9))
    server = Server(*(Request(id, (9, 8, 7), 9) for id in range(3)), max_batch=1, eos_token=answer[1])
    server.finish()
    expect_equal(len(server.steps), 3 * (answer.index(answer[1]) + 1), what="the number of steps")


def test_eos_may_be_token_0():
    """Which is false where it is taken for a truth value."""
    prompt = next((a, b) for a in range(50) for b in range(50) if alone(Request(0, (a, b), 2))[1] == 0)
    server = Server(Request(0, prompt, 5), eos_token=0)
    outputs = server.run()
    expect_equal(outputs[0][-1], 0, what="the last token with eos_token=0", hint="compare with `is not None`")


def test_eos_in_a_prompt_means_nothing():
    """Chats hold the end of every earlier turn."""
    prompt = (4, 9, 4)
    expect(4 not in alone(Request(0, prompt, 3)), "this prompt was chosen badly")
    Server(Request(0, prompt, 3), eos_token=4).finish()


def test_outputs_of_waiting_requests_are_empty(rng):
    """They are there from the moment of arrival."""
    server = Server(request(rng, 1, 3, 3), request(rng, 2, 3, 3), max_batch=1)
    server.step()
    expect_equal(server.engine.outputs.get(2), [], what="outputs[2] while request 2 waits")


def test_a_request_that_just_fits_is_served(rng):
    """The last token is never fed: 5 tokens of prompt and 4 new ones need room for 8."""
    Server(request(rng, 1, 5, 4), **LIMITS).finish()
    Server(request(rng, 1, 8, 1), **LIMITS).finish()


@pytest.mark.parametrize(
    ("prompt", "new"), [((), 3), ((1, 2), 0), ((1, 2), -1), ((1,) * 9, 1), ((1,) * 5, 5), ((1,), 9)], ids=str
)
def test_a_request_that_cannot_be_served_is_an_error(prompt, new):
    """It would wait for ever, and everybody behind it. It is not added."""
    server = Server(**LIMITS)
    hint = "prompt + max_new_tokens - 1 known tokens have to fit into kv_capacity"
    with expect_raises(ValueError, what=f"add of {len(prompt)} + {new} tokens, kv_capacity=8", hint=hint):
        server.engine.add(Request(1, prompt, new))
    expect_equal(server.engine.outputs, {}, what="outputs after an add that raised", hint="check before you change")
    server.add(Request(1, (1, 2), 2))
    server.finish()


@pytest.mark.parametrize("name", ["max_batch", "token_budget", "kv_capacity"])
def test_a_limit_below_1_is_an_error(name):
    """Nobody could ever be served."""
    for value in (0, -1):
        with expect_raises(ValueError, what=f"Engine with {name}={value}"):
            Engine(Server().model, **{**LIMITS, name: value})


@pytest.mark.parametrize("steps", [0, 1, 3], ids=["waits", "runs", "has ended"])
def test_an_id_that_was_added_before_is_an_error(steps):
    """Whose answer would it be?"""
    server = Server(Request(1, (1, 2, 3), 3), **LIMITS)
    server.step(steps)
    with expect_raises(ValueError, what="add of an id that was added before"):
        server.engine.add(Request(1, (4, 5), 2))
    server.finish()
