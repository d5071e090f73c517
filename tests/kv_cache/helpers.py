"""What any right cache does. The oracle is the given decoder on each text alone, without a cache."""

import torch
from torch import Tensor

from dojo.testing import expect_close, expect_equal, randint, randn
from dojo.testing.describe import describe
from dojo.testing.modules import fill_at_random
from katas.kv_cache import Decoder, KVCache, cached_forward, uncached_forward

VOCAB = 23
SPLITS = [(6,), (1, 1, 1, 1, 1, 1), (4, 1, 1), (1, 3, 2)]  # a prefill; token by token; a prefill and steps; chunks


def new_decoder(rng, layers=2, max_positions=12, dtype=torch.float64):
    decoder = Decoder(VOCAB, layers, 2, 4, max_positions).to(dtype)
    fill_at_random(decoder.parameters(), rng)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if name.endswith("bias") or "norm" in name:  # large ones would drown what the tokens say
                parameter.mul_(0.2).add_(float(name.endswith("weight")))
        decoder.head.bias.zero_()  # and no token is more probable than the others from the start
        decoder.head.weight.div_(decoder.head.weight.norm(dim=1, keepdim=True) / 3)
    return decoder


def cache_for(decoder, batch, max_length=12, dtype=None):
    dtype = dtype or decoder.head.weight.dtype
    return KVCache(decoder.layers, batch, decoder.heads, max_length, decoder.head_dim, dtype=dtype)


def qkv(rng, batch, tokens, heads=2, head_dim=4, dtype=torch.float64):
    return tuple(randn(rng, batch, heads, tokens, head_dim, dtype=dtype) for _ in range(3))


def step(cache, q, k, v, counts, layer=0):
    """Writes and attends in one layer; the lengths stay."""
    cache.write(layer, k, v, counts)
    return cache.attend(layer, q, counts)


def texts_of(rng, *lengths):
    return [randint(rng, 0, VOCAB, length).tolist() for length in lengths]


def feed(decoder, cache, texts, padding=0):
    """One call of cached_forward with each row's next tokens. Returns the logits at the real tokens, row by row."""
    counts = torch.tensor([len(text) for text in texts])
    new = max(1, *counts.tolist()) if len(texts) > 1 else len(texts[0])
    tokens = torch.tensor([text + [padding] * (new - len(text)) for text in texts])
    logits = cached_forward(decoder, tokens, counts, cache)
    shape = list(logits.shape) if isinstance(logits, Tensor) else describe(logits)
    expect_equal(shape, [len(texts), new, VOCAB], what="the shape of cached_forward's logits")
    return [row[:count] for row, count in zip(logits, counts.tolist(), strict=True)]


def alone(decoder, text):
    """The logits of one text, without a cache."""
    return uncached_forward(decoder, torch.tensor([text]))[0].detach()


def expect_logits(rows, wanted, *, note, hint):
    for row, (logits, want) in enumerate(zip(rows, wanted, strict=True)):
        expect_close(logits, want, what=f"the logits of row {row} {note}", hint=hint, rtol=1e-9, atol=1e-9)


def expect_lengths(cache, lengths, *, when, hint=""):
    expect_equal(getattr(cache, "lengths", None), torch.tensor(lengths), what=f"cache.lengths {when}", hint=hint)


def greedy(decoder, prompts, most, eos=None):
    """Greedy decoding that computes all texts anew for each token; what comes after eos is cut off. A row's padding stands
    behind its last token, which sees none of it."""
    texts = [list(prompt) for prompt in prompts]
    for _ in range(most):
        longest = max(map(len, texts))
        rows = uncached_forward(decoder, torch.tensor([text + [0] * (longest - len(text)) for text in texts])).detach()
        for text, logits in zip(texts, rows, strict=True):
            text.append(int(logits[len(text) - 1].argmax()))
    return [cut(text[len(prompt) :], eos) for text, prompt in zip(texts, prompts, strict=True)]


def cut(tokens, eos):
    """The tokens up to the first eos, if there is one."""
    return tokens[: tokens.index(eos) + 1] if eos in tokens else tokens
