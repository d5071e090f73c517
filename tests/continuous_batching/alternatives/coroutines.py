"""Each request is a generator: it is sent a budget, gives a chunk, and is sent the model's token."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Chunk:
    id: int
    start: int
    tokens: tuple[int, ...]


class Life:
    """A request's known tokens, and the generator that computes them from the beginning."""

    def __init__(self, request, output, eos_token):
        self.request, self.output, self.eos_token = request, output, eos_token
        self.known = [*request.prompt]
        self.begin()

    def begin(self):
        self.chunks = self.compute()
        next(self.chunks)

    def compute(self):
        computed = 0
        budget = yield
        while True:
            tokens = tuple(self.known[computed:][:budget])
            token = yield Chunk(self.request.id, computed, tokens)
            computed += len(tokens)
            if computed == len(self.known):
                self.known.append(token)
                self.output.append(token)
                if token == self.eos_token or len(self.output) == self.request.max_new_tokens:
                    return
            budget = yield


class Engine:
    def __init__(self, model, *, max_batch, token_budget, kv_capacity, eos_token=None):
        for name, limit in (("max_batch", max_batch), ("token_budget", token_budget), ("kv_capacity", kv_capacity)):
            if limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}")
        self.model, self.eos_token = model, eos_token
        self.max_batch, self.token_budget, self.kv_capacity = max_batch, token_budget, kv_capacity
        self.outputs = {}
        self.running, self.waiting = {}, OrderedDict()

    def add(self, request):
        if len(request.prompt) == 0:
            raise ValueError("the prompt is empty")
        if request.max_new_tokens <= 0:
            raise ValueError("nothing to generate")
        if request.id in self.outputs:
            raise ValueError("this id was added before")
        if len(request.prompt) + request.max_new_tokens > self.kv_capacity + 1:
            raise ValueError("this request never fits")
        output = self.outputs[request.id] = []
        self.waiting[request.id] = Life(request, output, self.eos_token)

    def step(self):
        free = self.kv_capacity - sum(len(life.known) for life in self.running.values())
        while free < 0:
            id, life = self.running.popitem()
            free += len(life.known)
            life.begin()
            self.model.free(id)
            self.waiting[id] = life
            self.waiting.move_to_end(id, last=False)
        budget, chunks = self.token_budget, []
        for life in self.running.values():
            chunks.append(life.chunks.send(budget))
            budget -= len(chunks[-1].tokens)
        for id, life in self.waiting.items():
            if not budget or len(self.running) == self.max_batch or len(life.known) > free:
                break
            free -= len(life.known)
            self.running[id] = life
            chunks.append(life.chunks.send(budget))
            budget -= len(chunks[-1].tokens)
        for chunk in chunks:
            self.waiting.pop(chunk.id, None)
        ended = []
        for chunk, token in zip(chunks, self.model.step(chunks) if chunks else (), strict=True):
            try:
                self.running[chunk.id].chunks.send(token)
            except StopIteration:
                ended.append(chunk.id)
                del self.running[chunk.id]
                self.model.free(chunk.id)
        return ended

    def run(self):
        while self.waiting or self.running:
            self.step()
        return self.outputs
