# %% [markdown]
# # A small server from your own parts
#
# The small GPT of the notebook `transformer` is trained again, in seconds, and then served by your code: a cache, blocks,
# a scheduler, a model that drafts, weights of 8 and 4 bits. Nothing is timed. Everything is counted: calls of the model,
# FLOPs, bytes, tokens per call. A count is the same on every machine, and says why a server is fast.
#
# What must not change is the text. Each part ends with named mistakes: some show in the text, and some in a count alone.

# %%
import copy
import re
import textwrap
from collections import Counter
from contextlib import nullcontext
from functools import partial

import torch
from material import small_gpt, small_server
from material.planted import planted
from material.tiny_lm import read_entries
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

from dojo.testing.cost import measure
from katas import continuous_batching, gpt_model, int4_weights, int8_linear, kv_cache, paged_kv_cache
from katas import llm_arithmetic as arithmetic
from katas import speculative_decoding as speculation
from katas.bpe_tokenizer import GPT2_LIKE, Tokenizer
from katas.bpe_tokenizer import train as learn_merges
from katas.causal_self_attention import attention
from katas.continuous_batching import Chunk, Request
from katas.rms_norm import rms_norm
from katas.rotary_embedding import inverse_frequencies, rotate
from katas.transformer_block import Block, swiglu_hidden

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
)
plt.rcParams["axes.titlesize"] = 10
torch.set_num_threads(1)  # layers this small are quicker on one core

# %% [markdown]
# ## The model
#
# Your GPT, with your Llama blocks in it. The layers have no biases, so that it is the model of `llm_arithmetic`. Your block
# hands on what it is called with: a server gives each token a position, and a function `attend` that looks into a cache.

# %%
HEADS, LENGTH = 4, 64
entries = read_entries("material/harbour.txt")
words = Counter(word.encode() for entry in entries for word in re.findall(GPT2_LIKE, " " + entry))
merges = learn_merges(words, 512)
BEGIN = 256 + len(merges)
tokenizer = Tokenizer(merges, {"<begin>": BEGIN})
encoded = [tokenizer.encode("<begin> " + entry) for entry in entries]
learned = torch.tensor([token for number, ids in enumerate(encoded) if number % 8 != 7 for token in ids])
held_out = torch.tensor([token for ids in encoded[7::8] for token in ids])
held_out = held_out[: len(held_out) // LENGTH * LENGTH].view(-1, LENGTH)  # [rows, LENGTH]


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.frequencies = inverse_frequencies(dim // HEADS)

    def forward(self, x, positions=None, attend=None):
        attend = attend or partial(attention, causal=True)
        positions = torch.arange(x.shape[1]) if positions is None else positions[:, None]  # [batch, 1, n]
        q, k, v = (layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = (rotate(part, positions, self.frequencies, interleaved=False) for part in (q, k))
        return self.out(attend(q, k, v).transpose(1, 2).flatten(-2))


def assemble(layers, dim):
    torch.manual_seed(0)
    model = gpt_model.GPT(gpt_model.GPTConfig(BEGIN + 1, LENGTH, layers, HEADS, dim))
    hidden = swiglu_hidden(dim, multiple_of=32)
    model.blocks = nn.ModuleList(Block(dim, hidden, Attention(dim)) for _ in range(layers))
    model.norm = small_gpt.Norm(rms_norm, dim)
    small_gpt.start_small(model.blocks)
    nn.init.zeros_(model.position.weight).requires_grad_(False)
    sizes = arithmetic.Decoder(layers, dim, HEADS, HEADS, dim // HEADS, hidden, vocab=BEGIN + 1, tied=True)
    return model, sizes


model, sizes = assemble(layers=2, dim=64)
small_model, small_sizes = assemble(layers=1, dim=32)
losses, _ = small_gpt.fit(model, learned, held_out)
small_losses, _ = small_gpt.fit(small_model, learned, held_out)


# %% [markdown]
# `Served` is the model as your caches want it, `decoder(tokens, positions, attend)`. It notes how many tokens each call
# computes, and on demand how many FLOPs torch counts.


# %%
class Served:
    def __init__(self, model, sizes, count=False):
        self.model, self.embed, self.sizes, self.count = model, model.token, sizes, count
        self.layers, self.heads, self.head_dim, self.max_positions = sizes.layers, HEADS, sizes.head_dim, LENGTH
        self.calls = []  # (tokens, the first one's position, FLOPs if they are counted) of each

    def __call__(self, tokens, positions, attend):
        with measure() if self.count else nullcontext() as spent:
            x = self.model.token(tokens)
            for layer, block in enumerate(self.model.blocks):
                x = block(x, positions=positions, attend=partial(attend, layer))
            logits = self.model.head(self.model.norm(x))
        self.calls.append((tokens.numel(), int(positions[0, 0]), spent.flops if self.count else 0))
        return logits

    @property
    def tokens(self):
        return sum(tokens for tokens, _, _ in self.calls)

    @property
    def flops(self):
        return sum(flops for _, _, flops in self.calls)


def alone(prompt, new):
    """The tokens that the model itself writes, without any cache: what every server must give."""
    return gpt_model.generate(model, torch.tensor([prompt]), new, temperature=0)[0, len(prompt) :].tolist()


def text_of(tokens):
    return tokenizer.decode(tokens).replace("<begin>", " /").strip()


# %%
# NBVAL_CHECK_OUTPUT
trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"{trained} parameters, as by the formula:", trained == arithmetic.parameters(sizes))
print(f"the draft has {arithmetic.parameters(small_sizes)}, {arithmetic.parameters(small_sizes) / trained:.0%} of them")
print("both have learned:", sum(losses[-20:]) / 20 < 2, sum(small_losses[-20:]) / 20 < 3)
with torch.no_grad(), measure() as spent:
    model(held_out[:1])
counted = arithmetic.forward_flops(sizes, LENGTH, 0)
print(f"a text of {LENGTH} tokens takes {counted} FLOPs, as by the formula:", spent.flops == counted)
for name in ("tied head without FLOPs", "half of the new pairs", "embedding as a product"):
    wrong, _ = planted("llm_arithmetic", name)
    print(f"  {name}: {wrong.forward_flops(sizes, LENGTH, 0) / counted - 1:+.0%}")

# %% [markdown]
# ## The cache
#
# Without a cache each new token computes the whole text again. With one it computes itself, and attends to what is stored.

# %%
# NBVAL_CHECK_OUTPUT
prompt = tokenizer.encode("<begin> Wind from the")
NEW = LENGTH + 1 - len(prompt)  # the last one is never fed
text = alone(prompt, NEW)
decoders, written = {}, {}
for name in ("right", "everything computed again", "positions start again at 0"):
    code = kv_cache if name == "right" else planted("kv_cache", name)[0]
    decoders[name] = Served(model, sizes, count=True)
    written[name] = code.generate(decoders[name], [prompt], NEW)[0]
    count = f"{len(decoders[name].calls)} calls, {decoders[name].tokens} tokens, {decoders[name].flops} FLOPs"
    print(f"{name}: {count}; the text is the model's own: {written[name] == text}")
stored = [len(prompt) + step for step in range(NEW)]  # after each call
steps = [flops for _, _, flops in decoders["right"].calls]
again = [flops for _, _, flops in decoders["everything computed again"].calls]
by_formula = [arithmetic.forward_flops(sizes, 1, n - 1) for n in stored[1:]]
print("each step is as by the formula:", steps[1:] == by_formula)
print("so is each text that is computed again:", again == [arithmetic.forward_flops(sizes, n, 0) for n in stored])
cache = kv_cache.KVCache(sizes.layers, 1, HEADS, LENGTH, sizes.head_dim)
print(
    f"the cache has {cache.nbytes} bytes, as by the formula:",
    cache.nbytes == arithmetic.kv_bytes(sizes, LENGTH, dtype_bytes=4),
)

# %%
figure, axis = plt.subplots(figsize=(8.4, 2.7), layout="constrained")
axis.plot(stored, [flops / 1e6 for flops in again], color="tab:red", marker="o", markersize=3, linestyle="")
axis.plot(stored, [arithmetic.forward_flops(sizes, n, 0) / 1e6 for n in stored], color="tab:red", linewidth=1)
axis.plot(stored, [flops / 1e6 for flops in steps], color="tab:blue", marker="o", markersize=3, linestyle="")
axis.plot(stored[1:], [flops / 1e6 for flops in by_formula], color="tab:blue", linewidth=1)
axis.annotate("the prompt", (stored[0], steps[0] / 1e6), (stored[0] + 0.8, steps[0] / 1e6 + 2.5), fontsize=9)
axis.text(52, 9.6, "without a cache", color="tab:red", ha="right", fontsize=9)
axis.text(52, 0.9, "with one", color="tab:blue", ha="right", fontsize=9)
axis.set(xlabel="tokens of the text", ylim=(0, None), title="millions of FLOPs for the next token")
plt.show()
for name in ("right", "positions start again at 0"):
    print(textwrap.fill(f"{name}: {text_of(prompt + written[name])}", 100, subsequent_indent="    "))

# %% [markdown]
# The dots are what torch counts, the lines are `forward_flops`. One mistake gives the right text at many times the FLOPs, and
# the other costs nothing and spoils the text: it takes a test of each kind to find both.
#
# ## Blocks behind a scheduler
#
# Your engine asks for a model with `step(chunks)` and `free(id)`. This one lays all tokens of all chunks in one row, without
# padding, calls the decoder once, and keeps keys and values in your blocks. Within a chunk it goes token by token, because
# a token must not see the next one.

# %%
BLOCK = 4


class PagedModel:
    def __init__(self, decoder, blocks, code=paged_kv_cache, sharing=False):
        self.decoder = decoder
        self.caches = [code.PagedKVCache(blocks, BLOCK, HEADS, decoder.head_dim) for _ in range(decoder.layers)]
        self.index = code.PrefixIndex(BLOCK)
        self.sharing = sharing
        self.kept = {}  # id -> its tokens that are stored
        self.calls, self.tables = [], []  # of each call: the chunks; the tables afterwards
        self.stored, self.in_use = [], []  # after each call: tokens, blocks

    def step(self, chunks):
        for chunk in chunks:
            if chunk.id not in self.kept:
                known = self.index.lookup(chunk.tokens) if self.sharing else []
                for cache in self.caches:
                    cache.create(chunk.id, known)
                self.kept[chunk.id] = list(chunk.tokens[: len(known) * BLOCK])
        self.calls.append({chunk.id: (chunk.start, len(chunk.tokens)) for chunk in chunks})
        rows, tokens, positions = [], [], []  # rows: the request of each token, and its number in the chunk
        for chunk in chunks:
            new = chunk.tokens[len(self.kept[chunk.id]) - chunk.start :]  # but for a prefix that is shared
            positions += range(len(self.kept[chunk.id]), len(self.kept[chunk.id]) + len(new))
            rows += [(chunk.id, number) for number in range(len(new))]
            tokens += new
            self.kept[chunk.id] += new
        with torch.no_grad():
            attend = partial(self.attend, rows)
            logits = self.decoder(torch.tensor([tokens]), torch.tensor([positions]), attend)[0]
        for chunk in chunks:
            self.index.insert(self.kept[chunk.id], self.caches[0].table(chunk.id))
        self.tables.append({id: self.caches[0].table(id) for id in self.kept})
        self.stored.append(sum(map(len, self.kept.values())))
        self.in_use.append(len({block for table in self.tables[-1].values() for block in table}))
        last = {id: place for place, (id, _) in enumerate(rows)}
        return [int(logits[last[chunk.id]].argmax()) for chunk in chunks]

    def attend(self, rows, layer, q, k, v):  # each [1, heads, tokens, d]
        answers, cache = torch.empty_like(q), self.caches[layer]
        for turn in range(1 + max(number for _, number in rows)):
            places = [place for place, (_, number) in enumerate(rows) if number == turn]
            for place in places:
                cache.append(rows[place][0], k[0, :, place, None], v[0, :, place, None])
            ids = [rows[place][0] for place in places]
            answers[0, :, places] = cache.attend(ids, q[0, :, places].transpose(0, 1)).transpose(0, 1)
        return answers

    def fork(self, parent, child):
        for cache in self.caches:
            cache.fork(parent, child)
        self.kept[child] = list(self.kept[parent])

    def free(self, id):
        if self.kept.pop(id, None) is not None:
            freed = [cache.free(id) for cache in self.caches]
            for block in freed[0]:  # the tables of all layers are equal
                self.index.evict(block)


# %% [markdown]
# ## One call for many requests
#
# A call of the model reads all weights, for one token as for many. What counts is how many tokens come out of a call. Below,
# 24 requests wait for four places; most answers are short, and some long. In *static batches* all four begin together,
# and nobody comes in before all have ended: this is a named mistake of the kata.

# %%
# NBVAL_CHECK_OUTPUT
draw = torch.Generator().manual_seed(0)
REQUESTS, BLOCKS = 24, 64
prompts = [
    tuple(ids[:size]) for ids, size in zip(encoded, torch.randint(4, 13, (REQUESTS,), generator=draw), strict=False)
]
news = [48 if draw_one < 0.25 else 4 + int(20 * draw_one) for draw_one in torch.rand(REQUESTS, generator=draw).tolist()]
requests = [Request(100 - number, *each) for number, each in enumerate(zip(prompts, news, strict=True))]
answers = {request.id: alone(list(request.prompt), request.max_new_tokens) for request in requests}


def serve(requests, mistake=None, server=None, *, max_batch=4, budget=64, room=BLOCKS * BLOCK, first=0):
    """The server after it has answered all requests, and whether each answer is the one that the model gives alone.

    The first `first` requests come one step before the others.
    """
    code = continuous_batching if mistake is None else planted("continuous_batching", mistake)[0]
    server = server or PagedModel(Served(model, sizes), BLOCKS)
    engine = code.Engine(server, max_batch=max_batch, token_budget=budget, kv_capacity=room)
    for request in requests[:first]:
        engine.add(request)
    engine.step()
    for request in requests[first:]:
        engine.add(request)
    outputs = engine.run()
    return server, all(outputs[request.id] == answers[request.id] for request in requests)


total = sum(news)
print(f"{sum(map(len, prompts))} tokens of prompts, {total} new tokens, the longest answer has {max(news)}")
servers = {}
for name in (None, "static batches", "prefills and decodes apart", "tokens in another order than chunks"):
    server, right = servers[name] = serve(requests, name)
    count = f"{len(server.calls)} calls, {total / len(server.calls):.2f} new tokens in each"
    print(f"{name or 'right'}: {count}; the answers are those of each request alone: {right}")

# %%
figure, axes = plt.subplots(2, 1, figsize=(8.4, 3.4), layout="constrained", sharex=True)
for axis, name in zip(axes, ("static batches", None), strict=True):
    server, _ = servers[name]
    title = f"{name or 'continuous batching'}: {total / len(server.calls):.2f} new tokens in a call"
    small_server.draw_calls(axis, server.calls, title)
axes[1].set(xlabel="call of the model", xlim=(0, None))
plt.show()

# %% [markdown]
# A colour is a request, black a prompt. White is a place that a call pays for and does not use. *Prefills and decodes
# apart* is quieter: a few more calls, in which those who wait for their next token get none. None of the two changes an
# answer. The last mistake does, and its counts are right.
#
# ## Memory
#
# A padded cache reserves the longest text for every place. Blocks are taken when a token needs them, so the same bytes
# serve more requests at a time. The pool below has the bytes of a padded cache of four places. The engine may fill it with
# sixteen requests, as long as their tokens fit; if they grow beyond that, the newest is preempted, and computed again later.

# %%
# NBVAL_CHECK_OUTPUT
padded = kv_cache.KVCache(sizes.layers, 4, HEADS, LENGTH, sizes.head_dim)
block_bytes = arithmetic.kv_bytes(sizes, BLOCK, dtype_bytes=4)
print(f"{BLOCKS} blocks of {block_bytes} bytes are the padded cache:", BLOCKS * block_bytes == padded.nbytes)
server, _ = servers[None]
reserved = sum(server.stored) / (len(server.calls) * 4 * LENGTH)
filled = sum(server.stored) / (sum(server.in_use) * BLOCK)
print(f"served above, {reserved:.0%} of the padded cache held a token, and {filled:.0%} of the blocks in use")

ROOM = BLOCKS * BLOCK - 16 * (BLOCK - 1)  # each of sixteen last blocks may lack all tokens but one
needed = sum(map(len, prompts)) + total - REQUESTS  # tokens that are computed if nobody is preempted
crowds = {}
for name in (None, "room for the whole answer", "recomputed from the prompt only"):
    server, right = crowds[name] = serve(requests, name, max_batch=16, budget=32, room=ROOM)
    begun = sum(start == 0 for call in server.calls for start, _ in call.values())
    most = max(map(len, server.calls))
    count = f"{len(server.calls)} calls, {total / len(server.calls):.2f} new tokens in each, up to {most} at a time"
    more = f"{begun - REQUESTS} preemptions, {server.decoder.tokens - needed} tokens computed again"
    print(f"{name or 'right'}: {count}; {more}; same answers: {right}")
for name in ("free forgets the blocks", "a new block for each call", "the slots beyond the length"):
    server = PagedModel(Served(model, sizes), BLOCKS, planted("paged_kv_cache", name)[0])
    try:
        print(f"{name}: same answers: {serve(requests, server=server)[1]}")
    except MemoryError:
        print(f"{name}: no block is free in call {len(server.calls)} of {len(servers[None][0].calls)}")

# %%
crowd, _ = crowds[None]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained", width_ratios=[1.1, 1])
small_server.draw_blocks(left, crowd.tables, BLOCKS)
left.set_title("who holds which block")
right.axhline(BLOCKS * BLOCK, color="gray", linestyle=":")
right.text(0, BLOCKS * BLOCK - 4, "bytes of the padded cache", color="gray", va="top", fontsize=9)
for server, name, colour in ((crowd, "sixteen places", "tab:blue"), (servers[None][0], "four places", "tab:orange")):
    slots = [BLOCK * blocks for blocks in server.in_use]
    right.fill_between(range(len(slots)), server.stored, slots, color=colour, alpha=0.3, linewidth=0)
    right.plot(server.stored, color=colour, label=name)
right.set(xlabel="call", ylim=(0, 290), title="tokens stored, and above them room in blocks")
right.legend(frameon=False, fontsize=9, loc="upper right")
plt.show()

# %% [markdown]
# Less than half of the padded cache ever holds a token, and nearly all slots of the blocks in use do. In the same bytes,
# blocks serve up to sixteen, and a call gives over one and a half times the tokens. Those who are preempted pay for it: some
# tokens are computed twice. *Room for the whole answer* never preempts, and keeps room for tokens that come much later.
#
# ## Prefixes and forks
#
# Two prompts come first. Three more begin as the first one does. Three begin as the second one does and go on as the first:
# a block holds keys and values that depend on all tokens before it, so these share only what stands before the change.

# %%
# NBVAL_CHECK_OUTPUT
one, other = encoded[0][:24], encoded[9][:24]
starts = [one, other, one, one, one, *(other[:cut] + one[cut:] for cut in (8, 12, 16))]
asked = [start + encoded[20 + number][4:6] for number, start in enumerate(starts)]
alike = [Request(id, tuple(prompt), 20 + id) for id, prompt in enumerate(asked)]
answers |= {request.id: alone(list(request.prompt), request.max_new_tokens) for request in alike}
for name in ("no sharing", "sharing", "known without the tokens before"):
    code = planted("paged_kv_cache", name)[0] if name.startswith("known") else paged_kv_cache
    server = PagedModel(Served(model, sizes), 2 * BLOCKS, code, sharing=name != "no sharing")
    _, right = serve(alike, server=server, max_batch=8, budget=64, room=480, first=2)
    print(f"{name}: {server.decoder.tokens} tokens computed, {max(server.in_use)} blocks; same answers: {right}")

prompt = encoded[0][:26]
with torch.no_grad():
    likely = model(torch.tensor([prompt]))[0, -1].topk(4).indices.tolist()
for name in ("right", "fork copies everything", "writes into the shared block"):
    code = paged_kv_cache if name == "right" else planted("paged_kv_cache", name)[0]
    server = PagedModel(Served(model, sizes), BLOCKS, code)
    server.step([Chunk(0, 0, tuple(prompt))])
    for id in (1, 2, 3):
        server.fork(0, id)
    branches = [[token] for token in likely]
    for step in range(12):
        new = server.step([Chunk(id, 26 + step, (branch[-1],)) for id, branch in enumerate(branches)])
        branches = [[*branch, token] for branch, token in zip(branches, new, strict=True)]
    right = all(branch == [first, *alone([*prompt, first], 12)] for branch, first in zip(branches, likely, strict=True))
    print(f"four ways to go on, {name}: {server.in_use[-1]} blocks; same texts: {right}")

# %% [markdown]
# *Known without the tokens before* has the best counts of the three, and wrong answers: a success on every dashboard, and a
# request that reads what was computed for somebody else. *Writes into the shared block* saves blocks in the same way.
#
# ## A small model drafts
#
# The small model writes a few tokens, and one call of the large one checks them all. Both keep a cache, and what was refused
# is cut off with your `truncate`. Your `speculative_generate` does not see that: it asks for probabilities of whole texts.


# %%
class Remembering:
    """Probabilities of each next token of a text; only what is new since the last call is computed."""

    def __init__(self, decoder, temperature, code=kv_cache):
        self.decoder, self.temperature, self.code = decoder, temperature, code
        self.cache = code.KVCache(decoder.layers, 1, HEADS, LENGTH, decoder.head_dim)
        self.text, self.rows = [], torch.empty(0, BEGIN + 1)

    def __call__(self, tokens):
        tokens = tokens[0].tolist()
        same = next((i for i, pair in enumerate(zip(tokens, self.text, strict=False)) if len(set(pair)) > 1), None)
        same = min(len(tokens), len(self.text)) if same is None else same
        self.cache.truncate(torch.tensor([same]))
        new = torch.tensor([tokens[same:]])
        if new.numel():
            logits = self.code.cached_forward(self.decoder, new, torch.tensor([new.shape[1]]), self.cache)[0]
            if self.temperature:
                probs = (logits / self.temperature).softmax(-1)
            else:
                probs = F.one_hot(logits.argmax(-1), BEGIN + 1).float()
            self.rows = torch.cat([self.rows[:same], probs])
        self.text = tokens
        return self.rows[None]


openings = [ids[:8] for ids in encoded[:96:12]]
WRITTEN, TEMPERATURE = 48, 0.7


def speculate(gamma, code=speculation, temperature=TEMPERATURE, cache_code=kv_cache):
    """The texts that follow the openings, with the target and the draft that wrote them."""
    target, draft = Served(model, sizes), Served(small_model, small_sizes)
    generator, texts = torch.Generator().manual_seed(2), []
    for opening in openings:
        both = [Remembering(decoder, temperature, cache_code) for decoder in (target, draft)]
        texts.append(code.speculative_generate(*both, opening, WRITTEN, gamma, generator=generator))
    return texts, target, draft


def flops_of(served):
    """The FLOPs of all calls, by the formula."""
    return sum(arithmetic.forward_flops(served.sizes, new, before) for new, before, _ in served.calls)


def surprise(texts):
    """The model's own loss of each token of the texts."""
    rows = torch.tensor([opening + text for opening, text in zip(openings, texts, strict=True)])
    with torch.no_grad():
        log_probs = model(rows).log_softmax(-1)[:, 7:-1]
    return -log_probs.gather(-1, rows[:, 8:, None]).mean().item()


# %%
# NBVAL_CHECK_OUTPUT
tokens = len(openings) * WRITTEN
per_call, flops = {}, {}
for gamma in (0, 1, 2, 4, 8):
    texts, target, draft = speculate(gamma)
    if gamma == 0:  # the model's own samples: how often would a draft of their tokens be kept?
        rows = torch.tensor([opening + text for opening, text in zip(openings, texts, strict=True)])
        with torch.no_grad():
            p, q = ((each(rows)[:, 7:-1] / TEMPERATURE).softmax(-1) for each in (model, small_model))
        acceptance, agreement = torch.minimum(p, q).sum(-1).mean().item(), (p * q).sum(-1).mean().item()
        own_surprise = surprise(texts)
    per_call[gamma], flops[gamma] = tokens / len(target.calls), (flops_of(target) + flops_of(draft)) / tokens
promised = {gamma: speculation.expected_tokens(acceptance, gamma) for gamma in per_call}
greedy, target, _ = speculate(4, temperature=0.0)
print("greedy, the texts are the model's own:", greedy == [alone(opening, WRITTEN) for opening in openings])
print("in fewer than half the calls:", len(target.calls) < tokens / 2)
print("a drafted token is kept with a probability of 0.4 to 0.85:", 0.4 < acceptance < 0.85)
print("without a draft, one token a call:", per_call[0] == 1)
print(
    "tokens per call are within 25 % of the formula:", all(abs(per_call[g] / promised[g] - 1) < 0.25 for g in per_call)
)
print("they grow with the draft:", sorted(per_call.values()) == list(per_call.values()))
print("FLOPs grow, too, to at least twice as many:", flops[8] > 2 * flops[0])
notes = {}
for name in ("right", "keeps everything", "kept if a draw from p agrees", "a target call for each token"):
    code = speculation if name == "right" else planted("speculative_decoding", name)[0]
    texts, target, _ = speculate(4, code)
    notes[name] = tokens / len(target.calls), surprise(texts)
print("keeps everything: nearly five tokens a call:", notes["keeps everything"][0] > 4.7)
print("... and the text surprises the model by 0.4 more:", notes["keeps everything"][1] > notes["right"][1] + 0.4)
print("right: it surprises as much as the model's own, give or take 0.5:", abs(notes["right"][1] - own_surprise) < 0.5)
print(
    "kept if a draw agrees: at most 0.8 times as many:",
    notes["kept if a draw from p agrees"][0] < 0.8 * notes["right"][0],
)
print("a target call for each token: less than one a call:", notes["a target call for each token"][0] < 1)
try:
    speculate(4, temperature=0.0, cache_code=planted("kv_cache", "truncate does nothing")[0])
except ValueError:
    print("truncate does nothing: what was refused fills the cache before the text is written")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.9), layout="constrained")
curve = [speculation.expected_tokens(acceptance, gamma) for gamma in range(9)]
left.plot(curve, color="tab:blue", linewidth=1, label="by the formula")
left.plot(list(per_call), list(per_call.values()), color="tab:blue", marker="o", linestyle="", label="counted")
for name, short in {"keeps everything": "keeps everything", "kept if a draw from p agrees": "a draw agrees"}.items():
    left.plot(4, notes[name][0], color="tab:red", marker="x")
    left.text(4.2, notes[name][0], short, color="tab:red", va="center", fontsize=9)
left.set(xlabel="drafted tokens", ylim=(0, 5.4), xticks=list(per_call), title="tokens per call of the large model")
left.legend(frameon=False, fontsize=9, loc="upper left")
right.plot(list(flops), [each / 1e6 for each in flops.values()], color="tab:blue", marker="o")
right.set(xlabel="drafted tokens", ylim=(0, None), xticks=list(flops), title="millions of FLOPs per token, both models")
plt.show()
for name, (each, loss) in notes.items():
    print(f"{name}: {each:.2f} tokens per call; the model's loss of the text {loss:.2f}, of its own {own_surprise:.2f}")

# %% [markdown]
# The formula takes the acceptance to be the same everywhere, and is right within a quarter all the same. Calls fall and FLOPs
# rise: this pays as long as a call waits for the weights, as decoding a single text does. *Keeps everything* has the best
# count that there is, because nobody checks.
#
# ## Weights of 8 and 4 bits
#
# Each linear layer in the blocks is replaced with your quantised one. The embedding, which is the head too, stays as it is.


# %%
# NBVAL_CHECK_OUTPUT
def with_layers(make):
    """The model with `make(layer)` in the place of each linear layer of its blocks."""
    changed = copy.deepcopy(model)
    for block in changed.blocks:
        for part in (block.attention, block.mlp):
            for name, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(part, name, make(layer))
    return changed


def as_nf4(layer):
    codes, absmax = int4_weights.quantize_nf4(layer.weight)
    layer.weight.data = int4_weights.dequantize_nf4(codes, absmax, layer.weight.shape, torch.float32)
    return layer


def bits_of(changed):
    held = sum(part.nbytes for name, part in changed.blocks.state_dict().items() if "norm" not in name)
    return 8 * held / weights


def int8(code=int8_linear, dynamic=False):
    return partial(code.Int8Linear.from_linear, dynamic=dynamic)


def int4(group_size, code=int4_weights):
    return partial(code.Int4Linear.from_linear, group_size=group_size)


text = learned[: 60 * LENGTH].view(-1, LENGTH)
weights = sum(layer.weight.numel() for layer in model.blocks.modules() if isinstance(layer, nn.Linear))
full = small_gpt.loss_of(model, text)
formats = {
    "int8": int8(),
    "int8, tokens too": int8(dynamic=True),
    "int4 in groups of 64": int4(64),
    "int4 in groups of 32": int4(32),
    "int4 in groups of 16": int4(16),
    "NF4": as_nf4,
}
mistakes = {
    "one scale for all": int8(planted("int8_linear", "one scale for all")[0]),
    "truncates": int8(planted("int8_linear", "truncates")[0]),
    "one range for all": int4(32, planted("int4_weights", "one range for all")[0]),
    "floor": int4(32, planted("int4_weights", "floor")[0]),
    "uint8 wraps": int4(32, planted("int4_weights", "uint8 wraps")[0]),
}
bits, worse = {}, {}
for name, make in {**formats, **mistakes}.items():
    changed = with_layers(make)
    bits[name], worse[name] = bits_of(changed), small_gpt.loss_of(changed, text) - full
bits["NF4"] = int4_weights.bits_per_weight(64)
for size in (64, 32, 16):
    promise = int4_weights.bits_per_weight(size, scale_bits=32 + 8)
    print(
        f"int4 in groups of {size}: {promise} bits a weight, as by the formula:",
        bits[f"int4 in groups of {size}"] == promise,
    )
print(f"int8: {bits['int8']:.2f} bits a weight; {weights * 4} bytes become {int(weights * bits['int8'] / 8)}")
print("int8 changes the loss by less than 0.01:", abs(worse["int8"]) < 0.01 and abs(worse["int8, tokens too"]) < 0.01)
print("int4 and NF4 by less than 0.05:", all(worse[name] < 0.05 for name in formats))
print("one scale for all does not show:", abs(worse["one scale for all"]) < 0.01)
print(
    "one range for all, and floor: twice the loss of the right groups:",
    min(worse["one range for all"], worse["floor"]) > 2 * worse["int4 in groups of 32"],
)
print("uint8 wraps: worse by more than 1:", worse["uint8 wraps"] > 1)
for name in ("right", "one scale for the batch"):
    code = int8_linear if name == "right" else planted("int8_linear", name)[0]
    changed = with_layers(int8(code, dynamic=True))
    with torch.no_grad():
        moved = (changed(text[:8])[0] - changed(text[:1])[0]).abs().max().item()
    print(f"{name}: the logits of a text depend on who is in its batch: {moved > 0.1}")

# %%
figure, axis = plt.subplots(figsize=(8.4, 3), layout="constrained")
to_the_left = {"NF4", "one range for all", "int8, tokens too", "truncates"}
for name in bits:
    colour = "tab:red" if name in mistakes else "tab:blue"
    axis.plot(bits[name], worse[name], color=colour, marker="x" if name in mistakes else "o", linestyle="")
    side = -1 if name in to_the_left else 1
    axis.annotate(
        name,
        (bits[name], worse[name]),
        (8 * side, {"int4 in groups of 64": -11, "one scale for all": -8, "int8": 5}.get(name, 0)),
        textcoords="offset points",
        color=colour,
        fontsize=9,
        ha="right" if side < 0 else "left",
        va="center",
    )
axis.axhline(0, color="gray", linestyle=":")
axis.text(3.5, 0.0001, "32 bits", color="gray", va="bottom", fontsize=9)
axis.set_yscale("symlog", linthresh=1e-3)
axis.set(xlabel="bits per weight", xlim=(3.4, 10), ylim=(-1e-3, 30), title="how much worse the loss per token is")
plt.show()

# %% [markdown]
# A weight of four bits has five, with the scale and the zero point of its group. The model hardly notices: its rows are
# alike, so even one scale for all int8 weights does no harm here, and only the kata's tests find it. *One scale for
# the batch* shows in a server: an answer changes with the company.
#
# ## From counts to seconds
#
# Seconds need a card. For Llama 3 8B on an H100 `llm_arithmetic` gives the time of a step, and from the counts of above it
# follows how many texts a cache holds.

# %%
# NBVAL_CHECK_OUTPUT
LLAMA, H100 = arithmetic.LLAMA_3_8B, arithmetic.H100
kinds = {"16 bits": 2.0, "8 bits": 1.0, "5.25 bits": 5.25 / 8}
speeds = {}
for name, each in kinds.items():
    most = arithmetic.max_batch(LLAMA, H100, 1024, weight_bytes=each)
    speeds[name] = [n / arithmetic.decode_seconds(LLAMA, H100, n, 1024, weight_bytes=each) for n in range(1, most + 1)]
    bound = arithmetic.critical_batch(H100, weight_bytes=each)
    print(
        f"{name}: {speeds[name][0]:.0f} tokens a second alone, {speeds[name][-1]:.0f} in a batch of {most}; "
        f"a weight is computed with longer than it is read from {bound:.0f} on"
    )
by_padding, by_blocks = (arithmetic.max_batch(LLAMA, H100, each) for each in (8192, round(8192 * reserved / filled)))
print(f"of texts of up to 8192 tokens {by_padding} fit in a padded cache, and {by_blocks} in blocks filled as above")

# %%
figure, axis = plt.subplots(figsize=(8.4, 2.7), layout="constrained")
for name, speed in speeds.items():
    axis.loglog(range(1, len(speed) + 1), speed, label=name)
axis.set(xlabel="batch, each with 1024 tokens in the cache", title="tokens a second, by the formula")
axis.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# Alone, a text is decoded as fast as the weights are read, and fewer bits are all that helps. In a large batch the caches are
# what is read, and the curves meet: there continuous batching and blocks count for more than the weights.
#
# ## Try it
#
# Give the engine a budget of 4 tokens, or 64, and look at the calls and at the black bars. Let the small model draft for text
# that neither has learned: what happens to the acceptance? Then quantise the small model, and let it draft.
