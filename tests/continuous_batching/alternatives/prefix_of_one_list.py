"""Those that run are always the oldest: one list of all that have not ended, and how many of them run."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate, islice


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


class Sequence:
    def __init__(self, request):
        self.id, self.tokens, self.kept = request.id, list(request.prompt), 0
        self.prompt, self.end = len(request.prompt), len(request.prompt) + request.max_new_tokens


class Engine:
    def __init__(self, model, *, max_batch, token_budget, kv_capacity, eos_token=None):
        for name, limit in (("max_batch", max_batch), ("token_budget", token_budget), ("kv_capacity", kv_capacity)):
            if limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}")
        self.model, self.eos_token = model, eos_token
        self.max_batch, self.token_budget, self.kv_capacity = max_batch, token_budget, kv_capacity
        self._ids = {}
        self._alive, self._run = [], 0

    @property
    def outputs(self):
        return {id: sequence.tokens[sequence.prompt :] for id, sequence in self._ids.items()}

    def add(self, request):
        if len(request.prompt) == 0:
            raise ValueError("the prompt is empty")
        if request.max_new_tokens <= 0:
            raise ValueError("nothing to generate")
        if request.id in self._ids:
            raise ValueError("this id was added before")
        if len(request.prompt) + request.max_new_tokens > self.kv_capacity + 1:
            raise ValueError("this request never fits")
        self._ids[request.id] = Sequence(request)
        self._alive.append(self._ids[request.id])

    def step(self):
        oldest = list(islice(self._alive, self.max_batch))
        room = list(accumulate(len(sequence.tokens) for sequence in oldest))
        fit = bisect_right(room, self.kv_capacity)
        for sequence in oldest[fit : self._run]:
            self.model.free(sequence.id)
            sequence.kept = 0
        before = [0, *accumulate(len(sequence.tokens) - sequence.kept for sequence in oldest[:fit])]
        self._run = min(fit, bisect_left(before, self.token_budget))
        chunks = []
        for sequence, used in zip(oldest[: self._run], before, strict=False):
            tokens = sequence.tokens[sequence.kept : sequence.kept + self.token_budget - used]
            chunks.append(Chunk(sequence.id, sequence.kept, tuple(tokens)))
        ended = set()
        for chunk, token in zip(chunks, self.model.step(chunks) if chunks else [], strict=True):
            sequence = self._ids[chunk.id]
            sequence.kept += len(chunk.tokens)
            if sequence.kept == len(sequence.tokens):
                sequence.tokens.append(token)
                if token == self.eos_token or len(sequence.tokens) == sequence.end:
                    ended.add(chunk.id)
                    self.model.free(chunk.id)
        self._alive[: self._run] = [sequence for sequence in oldest[: self._run] if sequence.id not in ended]
        self._run -= len(ended)
        return list(ended)

    def run(self):
        while self._alive:
            self.step()
        return self.outputs
