"""Stage 4. Memory and preemption, and work that does not grow with the queue."""

import pytest

from dojo.testing import expect, expect_equal, randint
from dojo.testing.lines import expect_lines
from katas import continuous_batching
from katas.continuous_batching import Engine, Request

from .helpers import Quick, Server, expect_steps, request

SLICES = "take the tokens of a chunk as a slice"
HINT = "look at those that run and at the front of the queue; keep sums and ids where they are found in one step"


def test_a_request_waits_until_there_is_room(rng):
    """Two prompts of five do not fit into nine, whatever the batch allows."""
    server = Server(request(rng, 0, 5, 3), request(rng, 1, 5, 2), kv_capacity=9)
    server.finish()
    wanted = [{0: (0, 5)}, {0: (5, 1)}, {0: (6, 1)}, {1: (0, 5)}, {1: (5, 1)}]
    expect_steps(server, wanted, "admit if all its known tokens fit beside those of the running requests")


def test_the_memory_may_be_filled_to_the_last_place(rng):
    """Two prompts of five fit into ten exactly."""
    server = Server(request(rng, 0, 5, 1), request(rng, 1, 5, 1), kv_capacity=10)
    server.finish()
    expect_steps(server, [{0: (0, 5), 1: (0, 5)}], "as long as they are not more than kv_capacity")


def test_a_small_request_does_not_overtake_one_that_waits_for_room(rng):
    """Else a large one would wait for ever on a busy server."""
    server = Server(request(rng, 0, 5, 3), request(rng, 1, 5, 2), request(rng, 2, 1, 2), kv_capacity=9)
    server.finish()
    wanted = [{0: (0, 5)}, {0: (5, 1)}, {0: (6, 1)}, {1: (0, 5), 2: (0, 1)}, {1: (5, 1), 2: (1, 1)}]
    expect_steps(server, wanted, "if the first of the queue does not fit, nobody is admitted")


def test_room_is_for_all_known_tokens_not_for_the_first_chunk(rng):
    """A prompt of eight in chunks of three: if only the first chunk had to fit, it would be evicted at the second."""
    server = Server(request(rng, 0, 4, 5), request(rng, 1, 8, 2), token_budget=7, kv_capacity=12)
    server.finish()
    hint = "room for the whole prompt is taken when a request is admitted"
    expect_equal(server.steps[0], {0: (0, 4), 1: (0, 3)}, what="the chunks of step 1", hint=hint)
    expect_equal(1 in server.steps[1], False, what="whether request 1 runs in step 2, with 5 + 8 known tokens of 12")


def test_the_newest_is_preempted_and_recomputed():
    """Room for eight. After two steps 5 + 5 tokens are known: request 2 has to go, which came last. When request 4 has ended,
    it comes back with its prompt and the two tokens that it had generated, and goes on with the third."""
    server = Server(Request(4, (1, 2, 3), 4), Request(2, (4, 5, 6), 4), kv_capacity=8)
    server.finish()
    wanted = [
        {4: (0, 3), 2: (0, 3)},
        {4: (3, 1), 2: (3, 1)},
        {4: (4, 1)},
        {4: (5, 1)},
        {2: (0, 5)},
        {2: (5, 1)},
    ]
    expect_steps(server, wanted, "preempt the newest; later it computes its prompt and all that it has generated anew")


def test_a_preempted_request_keeps_its_output():
    """The user has seen it already."""
    server = Server(Request(0, (1, 2, 3), 4), Request(1, (4, 5, 6), 4), kv_capacity=8)
    server.step(3)
    output = server.engine.outputs[1]
    expect_equal(
        len(output), 2, what="the number of tokens in outputs[1] after its preemption", hint="keep what was generated"
    )
    server.finish()


def test_a_preempted_request_comes_before_those_who_wait():
    """It is older than all of them."""
    server = Server(*(Request(id, (id, 1, 2), 4) for id in (3, 8, 5, 0)), max_batch=2, kv_capacity=8)
    server.step(3)
    server.add(Request(1, (1,), 1))
    server.finish()
    hint = "put it back to the front of the queue, whatever its id"
    for step in server.steps[4:6]:
        expect(8 in step, f"request 8 should be served when request 3 has ended, but {list(step)} are", hint=hint)


def test_two_are_preempted_in_one_step_and_keep_their_order(rng):
    """Four requests grow by a token each in a step: 3 + 9 + 3 + 3 known tokens, of 14. The newest has three of the four
    that are too many. When request 0 has ended, there is room for one of those two."""
    sizes = ((2, 2), (8, 4), (2, 2), (2, 2))
    server = Server(*(request(rng, id, *size) for id, size in enumerate(sizes)), kv_capacity=14)
    server.finish()
    wanted = [
        {0: (0, 2), 1: (0, 8), 2: (0, 2), 3: (0, 2)},
        {0: (2, 1), 1: (8, 1)},
        {1: (9, 1), 2: (0, 3)},
        {1: (10, 1), 3: (0, 3)},
    ]
    expect_steps(server, wanted, "preempt the newest again and again, until the others fit; the older one comes first")


def test_a_preempted_prompt_is_recomputed_in_chunks():
    """The budget holds for it, too."""
    server = Server(Request(0, (1, 2, 3), 6), Request(1, (4, 5, 6), 6), kv_capacity=10, token_budget=6)
    server.finish()
    again = [step[1] for step in server.steps if 1 in step][3:]
    expect_equal(again[:3], [(0, 6), (6, 1), (7, 1)], what="the chunks of request 1 after its preemption")


def test_a_request_that_is_half_computed_is_preempted(rng):
    """The old one grows while the new prompt is still on its way; later it starts from its first token again."""
    server = Server(request(rng, 0, 2, 9), request(rng, 1, 9, 2), kv_capacity=12, token_budget=3)
    server.finish()
    starts = [step[1][0] for step in server.steps if 1 in step]
    expect_equal(starts.count(0), 2, what="how often the prompt of request 1 is begun")


def test_preempted_twice_is_still_right(rng):
    """What was generated between the two preemptions counts as well."""
    server = Server(*(request(rng, id, 3, 9) for id in range(3)), kv_capacity=14, max_batch=3)
    server.finish()
    starts = [step[2][0] for step in server.steps if 2 in step]
    expect(starts.count(0) >= 3, f"request 2 should be preempted twice, but began {starts.count(0)} times")


def test_eos_frees_the_room_of_others(rng):
    """Nobody is preempted for tokens that are not coming."""
    first = request(rng, 0, 3, 9)
    server = Server(first, request(rng, 1, 3, 9), kv_capacity=11)
    eos = server.model.texts[0][4]
    server = Server(first, request(rng, 1, 3, 9), kv_capacity=11, eos_token=eos)
    server.finish()


@pytest.mark.parametrize("capacity", [18, 25, 40])
def test_answers_do_not_depend_on_preemptions(rng, capacity):
    """Random requests that arrive while others run, in little memory."""
    for budget in (3, 8, 100):
        sizes = zip(randint(rng, 1, 10, 9).tolist(), randint(rng, 1, 10, 9).tolist(), strict=True)
        requests = [request(rng, id, prompt, new) for id, (prompt, new) in enumerate(sizes)]
        server = Server(*requests[:5], max_batch=5, token_budget=budget, kv_capacity=capacity, eos_token=7)
        for late in requests[5:]:
            server.step(2)
            server.add(late)
        server.finish()


def test_the_work_of_a_step_does_not_grow_with_the_queue():
    """A thousand requests wait. A step costs what its four chunks cost."""
    engine = Engine(Quick(), max_batch=4, token_budget=16, kv_capacity=48)
    for id in range(1000):
        engine.add(Request(id, (1,) * 6, 9))
    for number in range(1, 41):
        expect_lines(engine.step, continuous_batching, 500, what=f"step {number} beside 1000 requests", hint=HINT)


def test_the_work_of_a_step_does_not_grow_with_the_text():
    """A chunk of a thousand tokens is a slice, and so is the newest token behind them. That holds for add, too."""
    engine = Engine(Quick(), max_batch=4, token_budget=1500, kv_capacity=4000)
    for id in range(2):
        request = Request(id, (1,) * 1000, 3)
        expect_lines(
            lambda request=request: engine.add(request),
            continuous_batching,
            100,
            what="add of 1000 tokens",
            hint=SLICES,
        )
    for number in range(1, 5):
        what = f"step {number} of two requests of 1000 tokens"
        expect_lines(engine.step, continuous_batching, 300, what=what, hint=SLICES)


def test_the_work_of_add_does_not_grow_with_the_queue():
    """Nor with those who have ended."""
    engine = Engine(Quick(), max_batch=4, token_budget=100, kv_capacity=48)
    for id in range(1000):
        engine.add(Request(id, (1,), 1))
    for _ in range(20):
        engine.step()
    expect_lines(
        lambda: engine.add(Request(-1, (1,), 1)), continuous_batching, 100, what="add behind 1000 requests", hint=HINT
    )
