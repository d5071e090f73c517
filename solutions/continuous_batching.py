"""Continuous batching.

Requests arrive and end at different times. Write the loop of the engine that serves them: admit, prefill in chunks,
decode, evict when memory is short. Nobody's answer may depend on what is served beside it.

The known tokens of a request are its prompt and what it has generated. The model keeps keys and values of the first of
them; the others are missing: the whole prompt at first, one token when decoding, all known tokens after a preemption.
A request runs from its admission until it ends or is preempted. While it runs, it takes one of max_batch places and
room for all its known tokens, be they computed or missing. Older means added earlier.

One step:
  1. While the known tokens of the running requests are more than kv_capacity, the newest running request is preempted:
     the model frees it, its place is free, and it goes back to the front of the queue. It keeps what it has generated.
  2. Each running request, the oldest first, gets a chunk with all its missing tokens, or with what the budget still
     allows: all chunks of a step have at most token_budget tokens.
  3. Requests are admitted from the front of the queue, and nobody overtakes: as long as a place is free, some budget is
     left, and all known tokens of the first in the queue fit beside those of the running requests. It gets its first
     chunk in this step, by the rule of 2.
  4. The model computes all chunks in one call. The token that it returns for a chunk counts only if the chunk reaches
     the end of the request's known tokens: then it is generated. Otherwise it is dropped.
  5. A request ends with its token number max_new_tokens or with eos_token, which is part of the answer. The model frees
     it before the step returns. Its place and its room can be used from the next step on.
A step with no request to serve does not call the model. Free: the order of the chunks, the order of calls of model.free,
and how you store it all.

Stage 1: decoding of requests of equal length.  Stage 2: unequal lengths, free places are filled again, late requests,
eos, wrong arguments.  Stage 3: prompts in chunks, the token budget.  Stage 4: memory and preemption; work that grows
neither with the queue nor with the texts: a step of up to four chunks executes at most 100 lines of this file for each
and 100 besides, add 100. A round of a comprehension counts as a line.

Sources: Yu et al., "Orca" (2022), for scheduling by iteration; Kwon et al., "Efficient Memory Management for Large
Language Model Serving with PagedAttention" (2023), for preemption by recomputation; Agrawal et al., "Taming
Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve" (2024), for prefill in chunks.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Request:
    """Given. A prompt, and how many tokens to generate at most."""

    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Chunk:
    """Given. Known tokens of the request `id`, from the one at the place `start` on."""

    id: int
    start: int
    tokens: tuple[int, ...]


class Model(Protocol):
    """Given. What an engine needs: a language model that keeps the keys and values of each request."""

    def step(self, chunks: list[Chunk]) -> list[int]:
        """The next token after each chunk, in their order. Keys and values of the chunks are kept.

        There is at least one chunk, no more than one for a request, and none is empty. A chunk starts where what the
        model keeps of its request ends: it refuses gaps and overlaps.
        """

    def free(self, id: int) -> None:
        """Forgets what it keeps of a request, which may be nothing."""


# kata: begin
@dataclass(eq=False)
class _Sequence:
    request: Request
    tokens: list[int]  # all that are known
    computed: int = 0  # how many of them the model keeps


# kata: end


class Engine:
    """Serves requests in steps, by the rules above.

    Attributes:
        outputs: dict[int, list[int]], what each request that was added has generated so far, by its id.
    """

    outputs: dict[int, list[int]]

    def __init__(
        self, model: Model, *, max_batch: int, token_budget: int, kv_capacity: int, eos_token: int | None = None
    ) -> None:
        """max_batch: requests that run at a time; token_budget: tokens of one step; kv_capacity: known tokens that run.

        Raises ValueError if one of the three is below 1.
        """
        # kata: begin
        if min(max_batch, token_budget, kv_capacity) < 1:
            raise ValueError(f"limits must be at least 1, got {max_batch=}, {token_budget=}, {kv_capacity=}")
        self._model, self._eos_token = model, eos_token
        self._max_batch, self._token_budget, self._kv_capacity = max_batch, token_budget, kv_capacity
        self._running: list[_Sequence] = []  # the oldest first
        self._waiting: deque[_Sequence] = deque()  # all newer than those that run
        self.outputs = {}
        # kata: end

    def add(self, request: Request) -> None:
        """Puts a request at the end of the queue; at any time between two steps.

        Raises ValueError, and changes nothing, if the prompt is empty, max_new_tokens is below 1, the id is that of a
        request that was added before (which may have ended), or the request can never fit: prompt and output but for
        the last token, which is never fed to the model, are longer than kv_capacity.
        """
        # kata: begin
        longest = len(request.prompt) + request.max_new_tokens - 1
        if not request.prompt or request.max_new_tokens < 1:
            raise ValueError(f"a request needs a prompt and at least one new token, got {request}")
        if request.id in self.outputs:
            raise ValueError(f"the id {request.id} is taken")
        if longest > self._kv_capacity:
            raise ValueError(f"request {request.id} needs room for {longest} tokens, of {self._kv_capacity}")
        self.outputs[request.id] = []
        self._waiting.append(_Sequence(request, list(request.prompt)))
        # kata: end

    def step(self) -> list[int]:
        """Runs one step. Returns the ids of the requests that ended in it, in any order."""
        # kata: begin
        used = sum(len(sequence.tokens) for sequence in self._running)
        while used > self._kv_capacity:
            newest = self._running.pop()
            used -= len(newest.tokens)
            self._model.free(newest.request.id)
            newest.computed = 0
            self._waiting.appendleft(newest)

        # A prefill that the budget cuts off is the newest that runs, since nobody is admitted behind it. So decodes never
        # wait for prefills, and every running request gets at least one token.
        chunks: list[Chunk] = []
        budget = self._token_budget
        for sequence in self._running:
            chunks.append(self._chunk(sequence, budget))
            budget -= len(chunks[-1].tokens)
        while self._waiting and budget and len(self._running) < self._max_batch:
            first = self._waiting[0]
            used += len(first.tokens)
            if used > self._kv_capacity:
                break
            self._running.append(self._waiting.popleft())
            chunks.append(self._chunk(first, budget))
            budget -= len(chunks[-1].tokens)
        if not chunks:
            return []

        ended = []
        for sequence, chunk, token in zip(tuple(self._running), chunks, self._model.step(chunks), strict=True):
            sequence.computed += len(chunk.tokens)
            if sequence.computed < len(sequence.tokens):
                continue
            id, output = chunk.id, self.outputs[chunk.id]
            sequence.tokens.append(token)
            output.append(token)
            if token == self._eos_token or len(output) == sequence.request.max_new_tokens:
                self._running.remove(sequence)
                self._model.free(id)
                ended.append(id)
        return ended
        # kata: end

    # kata: begin
    def _chunk(self, sequence: _Sequence, budget: int) -> Chunk:
        missing = sequence.tokens[sequence.computed : sequence.computed + budget]
        return Chunk(sequence.request.id, sequence.computed, tuple(missing))

    # kata: end

    def run(self) -> dict[int, list[int]]:
        """Runs steps until every request has ended. Returns `outputs`, or a copy."""
        # kata: begin
        while self._waiting or self._running:
            self.step()
        return self.outputs
        # kata: end
