"""Those that run as columns of numbers; one row of sums is the whole plan."""

from collections import deque
from dataclasses import dataclass

import numpy as np


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
        self.outputs, self.requests = {}, {}
        self.waiting = deque()
        self.ids, self.known, self.computed = (np.zeros(0, dtype=np.int64) for _ in range(3))

    def add(self, request):
        if len(request.prompt) == 0:
            raise ValueError("the prompt is empty")
        if request.max_new_tokens <= 0:
            raise ValueError("nothing to generate")
        if request.id in self.outputs:
            raise ValueError("this id was added before")
        if len(request.prompt) + request.max_new_tokens > self.kv_capacity + 1:
            raise ValueError("this request never fits")
        self.outputs[request.id], self.requests[request.id] = [], request
        self.waiting.append(request.id)

    def keep(self, which):
        self.ids, self.known, self.computed = self.ids[which], self.known[which], self.computed[which]

    def step(self):
        fits = self.known.cumsum() <= self.kv_capacity
        for id in self.ids[~fits][::-1].tolist():
            self.model.free(id)
            self.waiting.appendleft(id)
        self.keep(fits)
        budget = self.token_budget - int((self.known - self.computed).sum())
        room = self.kv_capacity - int(self.known.sum())
        while self.waiting and budget > 0 and len(self.ids) < self.max_batch:
            id = self.waiting[0]
            size = len(self.requests[id].prompt) + len(self.outputs[id])
            if size > room:
                break
            budget, room = budget - size, room - size
            self.waiting.popleft()
            self.ids, self.known, self.computed = (
                np.append(column, number) for column, number in ((self.ids, id), (self.known, size), (self.computed, 0))
            )
        if len(self.ids) == 0:
            return []
        missing = self.known - self.computed
        sizes = np.minimum(missing, self.token_budget - (missing.cumsum() - missing))
        chunks = []
        for id, start, size in zip(*(column.tolist() for column in (self.ids, self.computed, sizes)), strict=True):
            tokens = [*self.requests[id].prompt, *self.outputs[id]][start : start + size]
            chunks.append(Chunk(id, start, tuple(tokens)))
        tokens = self.model.step(chunks)
        self.computed = self.computed + sizes
        done = self.computed == self.known
        self.known = self.known + done
        for place in np.flatnonzero(done).tolist():
            self.outputs[chunks[place].id].append(tokens[place])
        ended = [
            chunks[place].id
            for place in np.flatnonzero(done).tolist()
            if tokens[place] == self.eos_token
            or len(self.outputs[chunks[place].id]) == self.requests[chunks[place].id].max_new_tokens
        ]
        for id in ended:
            self.model.free(id)
        self.keep(~np.isin(self.ids, ended))
        return ended

    def run(self):
        while len(self.ids) or self.waiting:
            self.step()
        return self.outputs
