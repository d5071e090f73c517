"""A heap by the order of arrival; preempts at the end of a step; the newest chunk comes first."""

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain, islice


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


class Engine:
    def __init__(self, model, *, max_batch, token_budget, kv_capacity, eos_token=None):
        for name, limit in (("max_batch", max_batch), ("token_budget", token_budget), ("kv_capacity", kv_capacity)):
            if limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}")
        self.model, self.eos_token = model, eos_token
        self.max_batch, self.token_budget, self.kv_capacity = max_batch, token_budget, kv_capacity
        self.outputs, self.requests, self.number = {}, {}, {}
        self.computed, self.waiting, self.used = {}, [], 0

    def add(self, request):
        if len(request.prompt) == 0:
            raise ValueError("the prompt is empty")
        if request.max_new_tokens <= 0:
            raise ValueError("nothing to generate")
        if request.id in self.outputs:
            raise ValueError("this id was added before")
        if len(request.prompt) + request.max_new_tokens > self.kv_capacity + 1:
            raise ValueError("this request never fits")
        self.number[request.id] = len(self.number)
        self.requests[request.id], self.outputs[request.id] = request, []
        heappush(self.waiting, (self.number[request.id], request.id))

    def known(self, id):
        return len(self.requests[id].prompt) + len(self.outputs[id])

    def tokens(self, id, start, count):
        return tuple(islice(chain(self.requests[id].prompt, self.outputs[id]), start, start + count))

    def step(self):
        budget, chunks = self.token_budget, {}

        def plan(id):
            nonlocal budget
            chunks[id] = Chunk(id, self.computed[id], self.tokens(id, self.computed[id], budget))
            budget -= len(chunks[id].tokens)

        for id in sorted(self.computed, key=lambda id: self.known(id) - self.computed[id]):  # decodes first
            plan(id)
        while self.waiting and budget and len(chunks) < self.max_batch:
            if self.used + self.known(self.waiting[0][1]) > self.kv_capacity:
                break
            _, id = heappop(self.waiting)
            self.used += self.known(id)
            self.computed[id] = 0
            plan(id)
        if not chunks:
            return []
        backwards = list(chunks.values())[::-1]
        ended = []
        for chunk, token in zip(backwards, self.model.step(backwards), strict=True):
            id = chunk.id
            self.computed[id] += len(chunk.tokens)
            if self.computed[id] == self.known(id):
                self.outputs[id].append(token)
                self.used += 1
                if token == self.eos_token or len(self.outputs[id]) >= self.requests[id].max_new_tokens:
                    ended.append(id)
                    self.leave(id)
        while self.used > self.kv_capacity:
            newest = max(self.computed, key=self.number.get)
            self.leave(newest)
            heappush(self.waiting, (self.number[newest], newest))
        return ended

    def leave(self, id):
        self.used -= self.known(id)
        del self.computed[id]
        self.model.free(id)

    def run(self):
        while self.waiting or self.computed:
            self.step()
        return {id: list(output) for id, output in self.outputs.items()}
