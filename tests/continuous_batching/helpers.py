"""A model that keeps tokens where a real one keeps keys and values, and refuses what breaks a rule of the kata."""

from zlib import crc32

from dojo.testing import Wrong, expect, expect_equal, randint
from dojo.testing.describe import describe
from dojo.testing.lines import expect_lines
from katas import continuous_batching
from katas.continuous_batching import Chunk, Engine, Request

VOCAB = 50


def next_token(tokens):
    """Depends on every token of the text and on their order."""
    return crc32(bytes(tokens)) % VOCAB


def alone(request, eos_token=None):
    """The answer to a request that is served alone, in one piece."""
    text = list(request.prompt)
    for _ in range(request.max_new_tokens):
        text.append(next_token(text))
        if text[-1] == eos_token:
            break
    return text[len(request.prompt) :]


def request(rng, id, prompt, new):
    """A request with a random prompt of that length."""
    return Request(id, tuple(randint(rng, 0, VOCAB, prompt).tolist()), new)


class Quick:
    """A model that answers 1 to every chunk, and checks nothing."""

    def step(self, chunks):
        return [1 for _ in chunks]

    def free(self, id):
        pass


class FakeModel:
    """Checks each step of an engine by what holds for every right answer."""

    def __init__(self, max_batch, token_budget, kv_capacity, eos_token):
        self.max_batch, self.token_budget, self.kv_capacity = max_batch, token_budget, kv_capacity
        self.eos_token = eos_token
        self.steps = []  # for each call {id: (start, number of tokens)}
        self.memory = {}  # id -> tokens
        self.texts, self.prompts = {}, {}  # id -> prompt and answer; the prompt's length. In the order of arrival
        self.known = {}  # id -> how many tokens are known; those that ended are missing
        self.running = []  # ids, after the last step
        self.most_steps = 0

    def add(self, request):
        self.texts[request.id] = [*request.prompt, *alone(request, self.eos_token)]
        self.prompts[request.id] = self.known[request.id] = len(request.prompt)
        # The oldest request gets a token of the budget in every step, and is never preempted.
        self.most_steps += len(request.prompt) + request.max_new_tokens

    def age(self, id):
        """0 is the oldest."""
        return list(self.texts).index(id)

    def answered(self, id):
        """The part of the answer that is known by now."""
        return self.texts[id][self.prompts[id] : self.known.get(id, len(self.texts[id]))]

    def free(self, id):
        self.memory.pop(id, None)

    def step(self, chunks):
        """Next tokens of a real model, if every chunk continues what is kept."""
        when = f"in step {len(self.steps) + 1}"
        expect(
            isinstance(chunks, list) and chunks and all(isinstance(chunk, Chunk) for chunk in chunks),
            f"{when} model.step should get a list of at least one Chunk, but gets {describe(chunks)}",
        )
        expect(len(self.steps) < self.most_steps, f"all requests should have ended in {self.most_steps} steps")
        sizes = {chunk.id: len(chunk.tokens) for chunk in chunks}
        expect(len(sizes) == len(chunks), f"{when} two chunks belong to one request: {[chunk.id for chunk in chunks]}")
        for chunk in chunks:
            self.check_chunk(chunk, when)
        total = sum(sizes.values())
        hint = "the budget counts tokens, of decodes and of prefills together"
        expect(
            total <= self.token_budget,
            f"{when} {total} tokens are computed, but token_budget={self.token_budget}",
            hint=hint,
        )
        sentence = f"{when} {len(chunks)} requests are served, but max_batch={self.max_batch}"
        expect(len(chunks) <= self.max_batch, sentence, hint="a place is free when its request has ended")
        self.check_preemption(when)
        self.check_running(sizes, when)
        self.check_admission(sizes, when)
        self.steps.append({chunk.id: (chunk.start, len(chunk.tokens)) for chunk in chunks})
        tokens = [self.compute(chunk) for chunk in chunks]
        self.running = [id for id in sizes if id in self.known]
        return tokens

    def check_chunk(self, chunk, when):
        """It continues what the model keeps, with tokens that are known."""
        id, start, tokens = chunk.id, chunk.start, list(chunk.tokens)
        expect(id in self.texts, f"{when} a chunk belongs to request {id!r}, which was never added")
        hint = "take a request out of those that run when it ends"
        expect(id in self.known, f"{when} request {id} gets a chunk, but it has ended", hint=hint)
        kept, known = len(self.memory.get(id, [])), self.known[id]
        hint = "a chunk starts behind what the model keeps: nothing at first, and nothing after model.free"
        sentence = (
            f"{when} the chunk of request {id} should start at {kept}, where its memory ends, but starts at {start}"
        )
        expect(start == kept, sentence, hint=hint)
        expect(tokens, f"{when} the chunk of request {id} is empty", hint="a request without tokens gets no chunk")
        wanted = self.texts[id][start : min(start + len(tokens), known)]
        hint = "known tokens are the prompt and then what has been generated"
        if len(tokens) > len(wanted):
            raise Wrong(f"{when} request {id} has {known} known tokens, but {chunk} reaches beyond them", hint=hint)
        expect_equal(tokens, wanted, what=f"{when} the tokens of request {id} from {start} on", hint=hint)

    def check_preemption(self, when):
        """Newest first, as few as are needed, and none without need."""
        gone = [id for id in self.running if id not in self.memory]
        stay = [id for id in self.running if id in self.memory]
        self.used = sum(self.known[id] for id in stay)
        found = f"{when} the known tokens were { {id: self.known[id] for id in self.running} } of {self.kv_capacity}; "
        hint = "preempt the newest, with model.free, until the known tokens of the others fit"
        expect(self.used <= self.kv_capacity, f"{found}those of {stay} do not fit, so preempt the newest", hint=hint)
        if gone:
            oldest, newest = min(gone, key=self.age), max(stay, key=self.age, default=None)
            fits = self.used + self.known[oldest] <= self.kv_capacity
            expect(not fits, f"{found}request {oldest} fits, but was freed", hint=hint)
            right = newest is None or self.age(newest) < self.age(oldest)
            expect(right, f"{found}request {newest} is newer than {oldest}, which was preempted", hint=hint)
        self.running = stay

    def check_running(self, sizes, when):
        """All missing tokens, or the whole budget is used, and not by somebody newer."""
        left = self.token_budget - sum(sizes.values())
        for id in self.running:
            expect(
                id in sizes, f"{when} request {id} runs, but gets no chunk", hint="decodes and old requests come first"
            )
        for id, size in sizes.items():
            missing = self.known[id] - len(self.memory.get(id, []))
            newer = [other for other in sizes if self.age(other) > self.age(id)]
            sentence = f"{when} request {id} misses {missing} tokens and gets {size}"
            hint = "all missing tokens at once, or as many as are left of the budget; the oldest request first"
            expect(size == missing or not newer, f"{sentence}, while {newer} are newer and get some too", hint=hint)
            expect(size == missing or not left, f"{sentence}, while {left} tokens of the budget are left", hint=hint)

    def check_admission(self, sizes, when):
        """First come, first served; only what fits, and all that fits."""
        admitted = [id for id in sizes if id not in self.running]
        waiting = [id for id in self.known if id not in sizes]
        used = self.used + sum(self.known[id] for id in admitted)
        hint = "admit a request only if all its known tokens fit beside those of the running ones"
        sentence = f"{when} {admitted} are admitted, and the running requests know {used} tokens of {self.kv_capacity}"
        expect(used <= self.kv_capacity, sentence, hint=hint)
        if not waiting:
            return
        first = min(waiting, key=self.age)
        hint = "look at the front of the queue only; a preempted request goes back to the front"
        overtakes = [id for id in admitted if self.age(id) > self.age(first)]
        expect(not overtakes, f"{when} {overtakes} are admitted before request {first}, which is older", hint=hint)
        places, left = self.max_batch - len(sizes), self.token_budget - sum(sizes.values())
        room = self.kv_capacity - used
        sentence = (
            f"{when} request {first} should be admitted: {places} places, {left} tokens of the budget and "
            f"room for {room} tokens are free, and it has {self.known[first]}"
        )
        hint = "in every step fill all places that are free, before the model is called"
        expect(not (places and left and room >= self.known[first]), sentence, hint=hint)

    def compute(self, chunk):
        id = chunk.id
        memory = self.memory.setdefault(id, [])
        memory += chunk.tokens
        if len(memory) == self.known[id]:
            self.known[id] += 1
        if self.known[id] == len(self.texts[id]):
            del self.known[id]
        return next_token(memory)


class Server:
    """An engine on a fake model. Every step is checked as soon as it is over."""

    def __init__(self, *requests, max_batch=8, token_budget=1000, kv_capacity=1000, eos_token=None):
        limits = {"max_batch": max_batch, "token_budget": token_budget, "kv_capacity": kv_capacity}
        self.model = FakeModel(**limits, eos_token=eos_token)
        self.engine = Engine(self.model, **limits, eos_token=eos_token)
        self.add(*requests)

    def add(self, *requests):
        for request in requests:
            self.engine.add(request)
            self.model.add(request)

    @property
    def steps(self):
        return self.model.steps

    def step(self, count=1):
        """Takes so many steps, one call of the model each, and returns the ids that ended in the last one."""
        ended = []
        for _ in range(count):
            calls, served = len(self.steps), set(self.model.known)
            ended = self.engine.step()
            when = f"in step {calls + 1}"
            hint = "somebody always runs, or the first in the queue can be admitted"
            what = f"the number of calls of model.step {when}, with {len(served)} requests that have not ended,"
            expect_equal(len(self.steps) - calls, 1 if served else 0, what=what, hint=hint)
            expect(isinstance(ended, list), f"step() should return a list of ids, but returned {describe(ended)}")
            wanted = sorted(served - set(self.model.known))
            hint = "the ids of the requests that ended in this step"
            expect_equal(
                sorted(ended, key=repr), sorted(wanted, key=repr), what=f"what step() returns {when}", hint=hint
            )
            self.check_outputs(when)
        return ended

    def check_outputs(self, when):
        """What each request has generated by now, and nothing is kept of those that ended."""
        outputs = getattr(self.engine, "outputs", None)
        expect(isinstance(outputs, dict), f"outputs should be a dict from ids to lists, but is {describe(outputs)}")
        hint = (
            "a token counts if its chunk reaches the end of the known tokens; the answer is that of the request alone"
        )
        for id in self.model.texts:
            expect_equal(outputs.get(id), self.model.answered(id), what=f"outputs[{id}] after {when[3:]}", hint=hint)
        expect_equal(
            len(outputs), len(self.model.texts), what="the number of outputs", hint="one for each request added"
        )
        kept = [id for id in self.model.memory if id not in self.model.known]
        hint = "call model.free when a request ends"
        expect(not kept, f"{when} requests {kept} ended, but the model still keeps their tokens", hint=hint)

    def finish(self):
        """Takes steps until every request has ended, and returns all that the model was given."""
        while self.model.known:
            self.step()
        return self.steps

    def run(self):
        """What engine.run() returns."""
        hint = "stop when nobody runs and nobody waits"
        outputs = expect_lines(self.engine.run, continuous_batching, 20_000, what="run()", hint=hint)
        expect(
            isinstance(outputs, dict), f"run() should return a dict from ids to lists, but returned {describe(outputs)}"
        )
        for id, text in self.model.texts.items():
            wanted = text[self.model.prompts[id] :]
            expect_equal(outputs.get(id), wanted, what=f"run()[{id}]", hint="the answer is that of the request alone")
        expect_equal(len(outputs), len(self.model.texts), what="the number of outputs of run()")
        return outputs


def expect_steps(server, wanted, hint=""):
    """The model was given these chunks, {id: (start, number of tokens)} for each step."""
    for number, (step, right) in enumerate(zip(server.steps, wanted, strict=False), 1):
        expect_equal(step, right, what=f"the chunks {{id: (start, tokens)}} of step {number}", hint=hint)
    expect_equal(len(server.steps), len(wanted), what="the number of steps", hint=hint)
