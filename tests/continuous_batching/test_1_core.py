"""Stage 1. Decoding of requests of equal length."""

import pytest

from dojo.testing import expect, expect_equal
from katas.continuous_batching import Engine, Request

from .helpers import Quick, Server, alone, expect_steps, request


def test_a_new_engine_has_no_outputs():
    """The attribute is there from the beginning."""
    outputs = getattr(Server().engine, "outputs", None)
    expect_equal(outputs, {}, what="outputs of a new engine", hint="set self.outputs = {} in __init__")


def test_the_prompt_is_computed_once_and_then_each_new_token():
    """Three tokens of the prompt give the first new token; then each token gives the next. The last one is not fed."""
    server = Server(Request(7, (5, 6, 7), 4))
    server.finish()
    hint = "the first chunk is the prompt; afterwards only the newest token is missing; the last one needs no chunk"
    expect_steps(server, [{7: (0, 3)}, {7: (3, 1)}, {7: (4, 1)}, {7: (5, 1)}], hint)


def test_an_output_grows_by_a_token_in_each_step():
    """What a user sees: the first token after the prefill."""
    wanted = alone(Request(0, (5, 6, 7), 3))
    server = Server(Request(0, (5, 6, 7), 3))
    for count in range(1, 4):
        server.step()
        expect_equal(server.engine.outputs[0], wanted[:count], what=f"outputs[0] after {count} steps")


def test_step_returns_the_ids_that_ended():
    """A server answers them at once."""
    server = Server(Request(3, (1, 2), 2), Request(9, (3, 4), 2))
    expect_equal(server.step(), [], what="what the first of two steps returns")
    expect_equal(sorted(server.step()), [3, 9], what="what the second of two steps returns, sorted")


def test_requests_share_a_step():
    """Four requests of three tokens take three calls of the model, not twelve."""
    server = Server(*(Request(id, (id, 2), 3) for id in range(4)))
    server.finish()
    wanted = [{id: (start, size) for id in range(4)} for start, size in ((0, 2), (2, 1), (3, 1))]
    expect_steps(server, wanted, "one call of model.step with a chunk for each request")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_answer_is_that_of_the_request_alone(rng, count):
    """The whole promise. The model's next token depends on all tokens of a request, so a mix-up shows."""
    Server(*(request(rng, id, 4, 5) for id in range(count))).finish()


def test_ids_are_any_numbers(rng):
    """They are the callers'."""
    Server(*(request(rng, id, 3, 3) for id in (41, 0, 7, -5))).finish()


def test_the_model_keeps_nothing_in_the_end(rng):
    """The memory belongs to the next request."""
    server = Server(request(rng, 1, 3, 2), request(rng, 2, 3, 2))
    server.finish()
    kept = list(server.model.memory)
    expect(not kept, f"the model should keep nothing in the end, but keeps the tokens of {kept}")


def test_run_returns_all_answers(rng):
    """By their ids, whichever ended first."""
    Server(*(request(rng, id, 3, 4) for id in (8, 2, 5))).run()


def test_run_returns_what_ended_before_it_too(rng):
    """It goes on where the steps stopped."""
    server = Server(request(rng, 1, 3, 2), request(rng, 2, 3, 2))
    server.step()
    server.run()
    server.run()


def test_run_takes_the_same_steps():
    """run is step, again and again."""
    server = Server(Request(1, (5, 6, 7), 3))
    outputs = server.engine.run()
    expect_equal(outputs, {1: alone(Request(1, (5, 6, 7), 3))}, what="run()")
    expect_steps(server, [{1: (0, 3)}, {1: (3, 1)}, {1: (4, 1)}])


def test_a_long_answer_takes_as_many_steps_as_it_needs():
    """A run that calls itself for each step is too deep for Python after a thousand."""
    engine = Engine(Quick(), max_batch=1, token_budget=1, kv_capacity=2000)
    engine.add(Request(0, (1,), 1000))
    expect_equal(engine.run(), {0: [1] * 1000}, what="run()", hint="run is a loop")


def test_nothing_to_serve_is_no_call_of_the_model():
    """A server that idles takes steps, too."""
    server = Server()
    server.step(2)
    server.run()


def test_two_engines_share_nothing(rng):
    """Queues and outputs are an engine's own."""
    one, other = Server(request(rng, 1, 3, 2)), Server(request(rng, 1, 4, 3))
    one.step()
    other.step()
    one.finish()
    other.finish()
    limits = {"max_batch": 1, "token_budget": 1, "kv_capacity": 1}
    expect_equal(Engine(one.model, **limits).outputs, {}, what="outputs of a third engine")
