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
        raise NotImplementedError("continuous_batching.Engine.__init__: write me")

    def add(self, request: Request) -> None:
        """Puts a request at the end of the queue; at any time between two steps.

        Raises ValueError, and changes nothing, if the prompt is empty, max_new_tokens is below 1, the id is that of a
        request that was added before (which may have ended), or the request can never fit: prompt and output but for
        the last token, which is never fed to the model, are longer than kv_capacity.
        """
        raise NotImplementedError("continuous_batching.Engine.add: write me")

    def step(self) -> list[int]:
        """Runs one step. Returns the ids of the requests that ended in it, in any order."""
        raise NotImplementedError("continuous_batching.Engine.step: write me")

    def run(self) -> dict[int, list[int]]:
        """Runs steps until every request has ended. Returns `outputs`, or a copy."""
        raise NotImplementedError("continuous_batching.Engine.run: write me")
