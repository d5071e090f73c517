"""What can be seen of an engine: the chunks of each step, who ends, what is generated and what the model keeps."""

from itertools import product
from zlib import crc32

from dojo.testing import Wrong, randint
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Case

VOCAB, MOST_STEPS, LIMITS = 50, 40, {"max_batch": 8, "token_budget": 1000, "kv_capacity": 1000}
STEP, RUN, ADD, INIT = (f"Engine.{name}" for name in ("step", "run", "add", "__init__"))
# name -> (prompt, new tokens) of each request, and the limits. `late` requests arrive after two steps each
LOADS = {
    "one request": ([(3, 4)], {}),
    "equal lengths": ([(3, 3)] * 3, {}),
    "one new token": ([(3, 1), (2, 1)], {}),
    "two places": ([(3, 1), (3, 5), (3, 1), (3, 5)], {"max_batch": 2}),
    "one place": ([(2, 2), (2, 3), (2, 1)], {"max_batch": 1}),
    "neighbours": ([(2, 2), (2, 2), (2, 2), (2, 3), (2, 3), (2, 2)], {"max_batch": 4}),
    "late": ([(2, 4), (3, 2), (2, 2)], {"late": 2}),
    "late, in one place": ([(2, 3), (3, 1), (2, 2)], {"late": 2, "max_batch": 1}),
    "chunks": ([(10, 3)], {"token_budget": 4}),
    "budget 1": ([(3, 2), (2, 2)], {"token_budget": 1}),
    "beside a long prompt": ([(2, 6), (11, 2), (2, 2)], {"token_budget": 4}),
    "rest of the budget": ([(6, 3)] * 3, {"token_budget": 10}),
    "budget used up": ([(4, 2), (3, 2), (2, 1)], {"token_budget": 4}),
    "a long one first": ([(3, 2), (20, 2), (1, 2)], {"token_budget": 6}),
    "many decodes": ([(1, 3)] * 5, {"token_budget": 3}),
    "room": ([(5, 3), (5, 2), (1, 2)], {"kv_capacity": 9}),
    "full": ([(5, 1), (5, 1)], {"kv_capacity": 10}),
    "room for a long prompt": ([(4, 5), (8, 2)], {"token_budget": 7, "kv_capacity": 12}),
    "preempted": ([(3, 4), (3, 4)], {"kv_capacity": 8}),
    "preempted before others": ([(3, 4)] * 4, {"max_batch": 2, "kv_capacity": 8}),
    "two preempted": ([(2, 2), (8, 4), (2, 2), (2, 2)], {"kv_capacity": 14}),
    "preempted and cut": ([(3, 6), (3, 6)], {"kv_capacity": 10, "token_budget": 4}),
    "half computed": ([(2, 9), (9, 2)], {"kv_capacity": 12, "token_budget": 3}),
    "preempted twice": ([(3, 9)] * 3, {"kv_capacity": 14}),
}
OK, SIZES = ("fits", "prompt fits"), {"no prompt": (0, 3), "no token": (2, 0), "too long": (5, 5), "fits": (5, 4)}
SIZES |= {"prompt fits": (8, 1), "long prompt": (9, 1)}


def next_token(tokens):
    return crc32(repr([*tokens]).encode()) % VOCAB


class Recorder:
    """A model that takes any chunks, and writes down what it is given."""

    def __init__(self):
        self.memory, self.steps = {}, []

    def step(self, chunks):
        if len(self.steps) == MOST_STEPS:
            raise RuntimeError("too many steps")
        self.steps.append([sorted([c.id, c.start, list(c.tokens)] for c in chunks), sorted(self.memory)])
        answers = []
        for c in chunks:
            self.memory[c.id] = [*self.memory.get(c.id, [])[: c.start], *c.tokens]
            answers.append(next_token(self.memory[c.id]))
        return answers

    def free(self, id):
        self.memory.pop(id, None)


def drawn(rng, sizes):
    """Requests as [id, prompt, new tokens], with ids in no order."""
    ids = [7, 2, 9, 0, 5, 31]
    return [[ids[number], randint(rng, 0, VOCAB, prompt).tolist(), new] for number, (prompt, new) in enumerate(sizes)]


def cases(rng):
    for name, (sizes, limits) in LOADS.items():
        requests = drawn(rng, sizes)
        yield Case(name, of=STEP, requests=requests, limits=limits)
        if name in ("two places", "neighbours", "one place"):
            yield Case(f"run: {name}", of=RUN, requests=requests, limits=limits)
    for place in range(-1, 3):  # -1: the prompt's last token
        requests = drawn(rng, [(3, 5), (2, 6), (2, 3)])
        text = list(requests[0][1])
        for _ in range(place + 1):
            text.append(next_token(text))
        yield Case(f"eos {place}", of=STEP, requests=requests, limits={"eos_token": text[-1], "max_batch": 2})
    requests = drawn(rng, [(2, 6), (4, 4)])  # token 0 is the first answer, and dropped for the second
    pair = next([*pair] for pair in product(range(VOCAB), repeat=2) if not next_token(pair))
    requests[0][1] = requests[1][1][:2] = pair
    yield Case("eos token 0", of=STEP, requests=requests, limits={"eos_token": 0, "token_budget": 4})
    yield Case("run, add, run", of=RUN, requests=drawn(rng, [(3, 2), (2, 2)]), limits={"late": 1})
    yield Case("limits", of=INIT, requests=drawn(rng, [(5, 2), (4, 2), (3, 2)]), limits={"token_budget": 6})
    yield from (Case(f"{name} 0", of=INIT, requests=[], limits={name: 0}) for name in LIMITS)
    for name, size in SIZES.items():
        yield Case(name, of=ADD, requests=drawn(rng, [size]), limits={"kv_capacity": 8}, served=name in OK)
    for steps in (0, 1, 3):
        requests = drawn(rng, [(2, 3)]) * 2
        yield Case(f"an id again after {steps} steps", of=ADD, requests=requests, limits={}, again=steps, served=False)
    limits = {"max_batch": 4, "token_budget": 1500, "kv_capacity": 4000}
    for of, (n, size) in product((STEP, ADD), ((600, 6), (2, 1000))):
        yield Case(f"lines of {of}, {n} of {size}", of=of, n=n, size=size, limits=limits, most=100 + 400 * (of == STEP))


def outputs(engine):
    return [[id, list(output)] for id, output in sorted(engine.outputs.items())]


def cost(engine, kata, case):
    """Whether one of four steps, or the add behind them, executes more than so many lines."""
    *requests, last = [kata.Request(id, (1,) * case.size, 3) for id in range(case.n + 1)]
    for request in requests:
        engine.add(request)
    try:
        for _ in range(4):
            expect_lines(engine.step, kata, case.most if case.of == STEP else 10**6, what="step")
        expect_lines(lambda: engine.add(last), kata, case.most if case.of == ADD else 10**6, what="add")
    except Wrong:
        return {"lines": "too many"}
    return {"lines": "few"}


def run(kata, case):
    limits, model = LIMITS | case.limits, Recorder()
    if hasattr(case, "most"):
        return cost(kata.Engine(model, **limits), kata, case)
    late = limits.pop("late", 0)
    engine = kata.Engine(model, **limits)
    requests = [kata.Request(id, tuple(prompt), new) for id, prompt, new in case.requests]
    for request in requests[: len(requests) - late]:
        try:
            engine.add(request)
        except ValueError:
            return {"refused": request.id, "outputs": outputs(engine)}
        for _ in range(getattr(case, "again", 0) * (request is requests[0])):
            engine.step()
    if not getattr(case, "served", True):  # how one serves what should be refused is not the question
        return {"outputs": outputs(engine)}
    if case.of == RUN:
        results = [sorted(expect_lines(engine.run, kata, 20_000, what="run()").items())]
        for request in requests[len(requests) - late :]:
            engine.add(request)
        results.append(sorted(expect_lines(engine.run, kata, 20_000, what="run()").items()))
        return {"outputs": results, "steps": model.steps, "kept": sorted(model.memory)}
    after = []
    for number in range(MOST_STEPS):
        if number and number % 2 == 0 and late:
            engine.add(requests[-late])
            late -= 1
        before, _ = len(model.steps), after.append([sorted(engine.step()), outputs(engine)])
        if len(model.steps) == before and not late:
            break
    return {"after": after, "steps": model.steps, "kept": sorted(model.memory)}
