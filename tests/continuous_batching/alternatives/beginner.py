"""Plain dicts and lists; decodes, prefills and newcomers in three loops."""

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


class Engine:
    def __init__(self, model, *, max_batch, token_budget, kv_capacity, eos_token=None):
        for name, limit in (("max_batch", max_batch), ("token_budget", token_budget), ("kv_capacity", kv_capacity)):
            if limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}")
        self.model, self.eos_token = model, eos_token
        self.max_batch, self.token_budget, self.kv_capacity = max_batch, token_budget, kv_capacity
        self.outputs = {}
        self.requests = {}
        self.computed = {}
        self.running = []
        self.waiting = []

    def add(self, request):
        if len(request.prompt) == 0:
            raise ValueError("the prompt is empty")
        if request.max_new_tokens <= 0:
            raise ValueError("nothing to generate")
        if request.id in self.outputs:
            raise ValueError("this id was added before")
        if len(request.prompt) + request.max_new_tokens > self.kv_capacity + 1:
            raise ValueError("this request never fits")
        self.outputs[request.id] = []
        self.requests[request.id] = request
        self.computed[request.id] = 0
        self.waiting.append(request.id)

    def known(self, id):
        return list(self.requests[id].prompt) + self.outputs[id]

    def memory(self):
        total = 0
        for id in self.running:
            total += len(self.known(id))
        return total

    def make_chunk(self, id, budget):
        known = self.known(id)
        start = self.computed[id]
        end = min(len(known), start + budget)
        return Chunk(id, start, tuple(known[start:end]))

    def step(self):
        while self.memory() > self.kv_capacity:
            victim = self.running[-1]
            self.running = self.running[:-1]
            self.model.free(victim)
            self.computed[victim] = 0
            self.waiting.insert(0, victim)

        chunks = []
        budget = self.token_budget
        decodes = []
        prefills = []
        for id in self.running:
            if len(self.known(id)) - self.computed[id] == 1:
                decodes.append(id)
            else:
                prefills.append(id)
        for id in decodes:
            if budget > 0:
                chunks.append(self.make_chunk(id, 1))
                budget = budget - 1
        for id in prefills:
            if budget > 0:
                chunk = self.make_chunk(id, budget)
                chunks.append(chunk)
                budget = budget - len(chunk.tokens)
        while True:
            if len(self.waiting) == 0 or budget == 0 or len(self.running) == self.max_batch:
                break
            id = self.waiting[0]
            if self.memory() + len(self.known(id)) > self.kv_capacity:
                break
            self.waiting.pop(0)
            self.running.append(id)
            chunk = self.make_chunk(id, budget)
            chunks.append(chunk)
            budget = budget - len(chunk.tokens)

        if len(chunks) == 0:
            return []
        tokens = self.model.step(chunks)
        finished = []
        for i in range(len(chunks)):
            id = chunks[i].id
            self.computed[id] = self.computed[id] + len(chunks[i].tokens)
            if self.computed[id] == len(self.known(id)):
                self.outputs[id].append(tokens[i])
                is_eos = self.eos_token is not None and tokens[i] == self.eos_token
                if is_eos or len(self.outputs[id]) == self.requests[id].max_new_tokens:
                    finished.append(id)
        for id in finished:
            self.running.remove(id)
            self.model.free(id)
            del self.requests[id]
            del self.computed[id]
        return finished

    def run(self):
        while len(self.running) > 0 or len(self.waiting) > 0:
            self.step()
        return dict(self.outputs)
