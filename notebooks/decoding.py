# %% [markdown]
# # What each decoding parameter does to a text
#
# A language model gives a distribution over the next token. Everything after that is decoding: which token is taken,
# and what that does to a page of text. Temperature, top-k, top-p, repetition penalty, beam width: an interviewer asks
# for each of them what it does and when one would turn it.
#
# The decoding is yours. This notebook imports seven katas, from `answers/temperature_sampling.py` to
# `answers/hyperparameter_search.py`, one section for each, and brings a text, a model that learns it in seconds, and a few
# measures. A section runs as soon as its kata and those before it are written.

# %%
import math
import re
import textwrap
from itertools import pairwise

import torch
from material.tiny_lm import END, Pieces, TinyLM, counting_models, logits_of, perplexity, read_entries, train
from matplotlib import pyplot as plt

from katas.beam_search import beam_search, beam_search_with_cache
from katas.diverse_beam_search import diverse_beam_search
from katas.hyperparameter_search import bayesian_search, grid_search, random_search
from katas.repetition_control import block_repeated_ngrams, frequency_presence_penalty, repetition_penalty
from katas.temperature_sampling import gumbel_sample, sample_token, temperature_probs
from katas.top_k_sampling import sample_top_k, top_k_filter
from katas.top_p_sampling import sample_top_p, top_p_filter

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
)
torch.set_num_threads(1)  # layers this small are quicker on one core
_ = torch.manual_seed(0)

# %% [markdown]
# ## The text and the model
#
# `material/harbour.txt` is the book of an imaginary harbour, 116 short entries written for this project. Some are dry
# notes that all sound alike, some are small tales. So the model will be sure in some places and lost in others, and
# that is what decoding is about. Every eighth entry is held out.
#
# The tokens are word pieces: frequent words are one token, rare ones are spelled in several. A model of pieces can
# misspell, and we shall see when it does.

# %%
# NBVAL_CHECK_OUTPUT
entries = read_entries("material/harbour.txt")
pieces = Pieces(entries, merges=600)
encoded = [[*pieces.encode(" " + entry), END] for entry in entries]
held_out = encoded[7::8]
learned = [tokens for number, tokens in enumerate(encoded) if number % 8 != 7]
vocab = len(pieces.names)

print(f"{len(learned)} entries to learn, {len(held_out)} held out, {sum(map(len, encoded))} tokens of {vocab} kinds")
print("|".join(pieces.names[token] for token in encoded[1][:24]))

# %%
# NBVAL_CHECK_OUTPUT
model = TinyLM(vocab)
train(model, learned)
_ = torch.set_grad_enabled(False)  # from here on the model only talks

held_logits, held_tokens = logits_of(model, held_out)  # [tokens, vocab] and [tokens]
unigram, bigram = (perplexity(log_probs) for log_probs in counting_models(learned, held_out, vocab))
surprise = -held_logits.log_softmax(-1).gather(1, held_tokens[:, None])[:, 0]
print("half the perplexity of unigrams, or less:", perplexity(-surprise) < unigram / 2)
print("at most 80 % of the perplexity of bigrams:", perplexity(-surprise) < 0.8 * bigram)

# %%
print(
    f"perplexity of the held-out entries: unigrams {unigram:.0f}, bigrams {bigram:.0f}, model {perplexity(-surprise):.0f}"
)

# %% [markdown]
# Perplexity is the exponential of the mean surprise: the model is as unsure as if it chose evenly among so many tokens.
# It depends on the tokens, so compare it only between models that share them.
#
# Two tools for all that follows: the logits after a prompt, and a loop that asks a function `pick` for each next token.


# %%
def context(prompt):
    """[1, length]: the token that begins an entry, then the prompt."""
    return torch.tensor([[END, *pieces.encode(prompt)]])


def next_logits(prompt):
    return model(context(prompt))[0][0, -1]  # [vocab]


def generate(pick, prompt="", copies=1, length=120, seed=0):
    """[copies, length], prompt included: pick(logits [copies, vocab], tokens so far, generator) chooses every token."""
    generator = torch.Generator().manual_seed(seed)
    tokens = new = context(prompt).repeat(copies, 1)
    state = None
    while tokens.shape[1] <= length:
        logits, state = model(new, state)
        new = pick(logits[:, -1], tokens, generator)[:, None]
        tokens = torch.cat([tokens, new], 1)
    return tokens[:, 1:]  # without the token that begins the entry


def show_text(name, tokens):
    """Ends of entries are shown as a stroke."""
    text = pieces.decode(tokens.tolist()).replace("\n", " /")
    print(textwrap.fill(f"{name}:{text}", 100, subsequent_indent="    "), end="\n\n")


def entropy(probs):
    return -torch.xlogy(probs, probs).sum(-1)


# %% [markdown]
# ## Temperature
#
# $p_i \propto \exp(z_i / T)$. Two things to say in an interview: the *order* of the tokens never changes, and the
# log-odds of any two are divided by $T$. Below 1 the rich get richer, and 0 is greedy. Above 1 the tail gains, and a
# tail of hundreds of tokens needs only a little each to win together.

# %%
# NBVAL_CHECK_OUTPUT
wind = next_logits(" Wind from the")
first, second = wind.topk(2).indices


def odds(temperature):
    probs = temperature_probs(wind, temperature)
    return float(probs[first].log() - probs[second].log())


temperatures = [0.25, 0.5, 1.0, 1.5, 2.0]
entropies = [float(entropy(temperature_probs(wind, T))) for T in temperatures]
draws = {
    "sample_token": sample_token(
        temperature_probs(wind, 1.5).expand(20_000, -1), generator=torch.Generator().manual_seed(1)
    ),
    "gumbel_sample": gumbel_sample(wind.expand(20_000, -1), 1.5, generator=torch.Generator().manual_seed(1)),
}
print("T = 0.5 doubles the log-odds:", math.isclose(odds(0.5), 2 * odds(1.0), rel_tol=1e-3))
print("T = 1 is the softmax:", bool(torch.allclose(temperature_probs(wind, 1.0), wind.softmax(-1))))
print("T = 0 is all on the best token:", float(temperature_probs(wind, 0)[first]) == 1)
print("the entropy grows with T:", all(low < high for low, high in pairwise(entropies)))
for name, drawn in draws.items():
    shares = torch.bincount(drawn, minlength=vocab) / len(drawn)
    distance = (shares - (wind / 1.5).softmax(-1)).abs().sum() / 2
    print(f"20000 draws of {name} differ from the probabilities by less than 5 %:", bool(distance < 0.05))

# %%
prompts = {" Wind from the": 5, " One morning the": 8}
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", width_ratios=[1, 1.05])
for axis, (prompt, shown) in zip(axes, prompts.items(), strict=True):
    logits = next_logits(prompt)
    best = logits.topk(shown).indices
    names = [pieces.names[token].strip() for token in best] + [f"{vocab - shown} others"]
    for offset, (T, colour) in enumerate(((0.5, "tab:blue"), (1.0, "tab:gray"), (2.0, "tab:orange"))):
        probs = temperature_probs(logits, T)
        heights = [*probs[best].tolist(), 1 - float(probs[best].sum())]
        rows = [row + 0.27 * (offset - 1) for row in range(shown + 1)]
        axis.barh(rows, heights, 0.25, color=colour, label=f"T = {T:g}")
    axis.set(yticks=range(shown + 1), yticklabels=names, xlim=(0, 1), xlabel="probability")
    axis.set_title(f'"{prompt.strip()} ..."', fontsize=11)
    axis.invert_yaxis()
axes[0].legend(frameon=False, fontsize=9, loc="center right")
plt.show()


# %% [markdown]
# Left, the model is sure, and up to T = 1 the four winds share nearly everything. At T = 2 most of it goes to hundreds of
# tokens, none of which is worth a bar of its own. Right, many words could follow, and T = 2 hands nearly everything to
# the tail. A page of text passes through both kinds of places, and one bad token is enough to lose the thread.


# %%
def at_temperature(T):
    return lambda logits, tokens, generator: sample_token(temperature_probs(logits, T), generator=generator)


for T in (0, 0.6, 1.0, 1.5):
    show_text(f"T = {T}", generate(at_temperature(T), length=90, seed=3)[0])

# %% [markdown]
# Measures, each of which can be fooled alone:
#
# - **known words**: the share of words that occur in the book. Copying the book scores 100 %.
# - **repeated**: the share of 4-grams that the same text had before. A few are normal: the book has its formulas.
# - **distinct**: different pairs of tokens, as a share of all pairs of a text. Noise scores best.
# - **log-prob**: what the model itself thinks of each token, on average. A loop scores best.
#
# So none of them should be pushed to its limit. What counts is to be where real text is. The book's own entries, in
# shuffled order, set the standard.

# %%
word = re.compile(r"[A-Za-z-]+")
book_words = set(word.findall(" ".join(entries)))


def ngrams(tokens, n):
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


def seen_before(tokens, n=4):
    """For each n-gram of a list, whether the list had it before."""
    grams = ngrams(tokens, n)
    return [gram in grams[:place] for place, gram in enumerate(grams)]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def measure(texts):
    """The four measures of texts [copies, length] that each begin an entry."""
    rows = texts.tolist()
    words = [known for row in rows for known in word.findall(pieces.decode(row))[:-1]]  # the last may be cut short
    before = torch.cat([torch.full((len(texts), 1), END), texts[:, :-1]], 1)
    log_probs = model(before)[0].log_softmax(-1).gather(2, texts[..., None])
    return {
        "known words": mean(known in book_words for known in words),
        "repeated": mean(mean(seen_before(row)) for row in rows),
        "distinct": mean(len(set(ngrams(row, 2))) / (len(row) - 1) for row in rows),
        "log-prob": log_probs.mean().item(),
    }


def report(verdicts):
    print(f"{'':28}known words   repeated   distinct   log-prob")
    for name, v in verdicts.items():
        shares = f"{100 * v['known words']:9.1f} %{100 * v['repeated']:9.1f} %{100 * v['distinct']:9.1f} %"
        print(f"{name:28}{shares}{v['log-prob']:11.2f}")


def book_texts(copies, length=120, seed=0):
    """Stretches of the book, each from the start of an entry."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(copies):
        order = torch.randperm(len(encoded), generator=generator)[:60].tolist()
        rows.append([token for number in order for token in encoded[number]][:length])
    return torch.tensor(rows)


book = measure(book_texts(64))
grid_of_temperatures = [0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0]
at = {T: measure(generate(at_temperature(T), copies=24)) for T in grid_of_temperatures}
report({"the book": book} | {f"T = {T}": at[T] for T in (0, 0.6, 1.0, 1.4, 2.0)})

# %%
# NBVAL_CHECK_OUTPUT
print("T = 0 repeats more than twice as much as the book:", at[0]["repeated"] > 2 * book["repeated"])
print("T = 2 is less repetitive than the book:", at[2.0]["repeated"] < book["repeated"])
print("T = 0.6 knows more than 97 % of its words:", at[0.6]["known words"] > 0.97)
print("T = 2 knows less than 80 %:", at[2.0]["known words"] < 0.8)

# %%
fine = [0.6 + 0.05 * step for step in range(29)]
held_perplexity = [perplexity(temperature_probs(held_logits, T).gather(1, held_tokens[:, None]).log()) for T in fine]
calm = fine[held_perplexity.index(min(held_perplexity))]

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.4, 2.8), layout="constrained")
for axis, measures in ((left, ("known words",)), (middle, ("repeated", "distinct"))):
    for name, colour in zip(measures, ("tab:blue", "tab:orange"), strict=False):
        axis.plot(grid_of_temperatures, [100 * at[T][name] for T in at], color=colour, marker="o", markersize=3)
        axis.axhline(100 * book[name], color=colour, linestyle=":")
    axis.set(xlabel="T", xticks=[0, 0.5, 1, 1.5, 2], ylim=(0, 104), yticks=[0, 50, 100])
left.set_title("words of the book, %", fontsize=10)
middle.set_title("repeated 4-grams, distinct pairs, %", fontsize=10)
middle.text(0.62, 74, "distinct", color="tab:orange", ha="right", fontsize=9)
middle.text(0.62, 11, "repeated", color="tab:blue", ha="right", fontsize=9)
left.text(0.03, 6, "dotted: the book itself", color="tab:gray", fontsize=9)
right.plot(fine, held_perplexity, color="tab:green")
right.axvline(calm, color="gray", linestyle=":")
right.set(xlabel="T", xticks=[0.6, 1, 1.5, 2], ylim=(0, None))
right.set_title("perplexity of held-out entries", fontsize=10)
plt.show()
print(f"held-out entries are least surprising at T = {calm:.2f}")

# %% [markdown]
# - T = 1 is not sacred. It is what the model was trained to mean, and a model that was trained a little too long is too
#   sure of itself: held-out text is least surprising above 1. (Fitting that one number on held-out data is the usual
#   calibration by temperature.)
# - And yet one often samples *below* 1. The likelihood of real text asks that no real token be ruled out. A sample must avoid
#   bad tokens. These are different wishes, and one number cannot fulfil both: hence top-k and top-p.
#
# ## Top-k
#
# Cut the tail off: the k best tokens stay, the others get probability 0. How much a long tail matters is a matter of
# counting. If the tail holds 5 % at each token, 120 tokens stay out of it with probability $0.95^{120} = 0.2\,\%$.

# %%
# NBVAL_CHECK_OUTPUT
unsure = next_logits(" One morning the")
five = set(unsure.topk(5).indices.tolist())
drawn = sample_top_k(unsure.expand(5000, -1), 5, generator=torch.Generator().manual_seed(0))
hot = sample_top_k(unsure.expand(5000, -1), 5, 3.0, generator=torch.Generator().manual_seed(0))
shares = torch.bincount(drawn, minlength=vocab) / len(drawn)
expected = top_k_filter(unsure, 5).softmax(-1)

print("top-k = 5 never left the five most likely tokens:", set(drawn.tolist()) <= five)
print("and drew all of them:", set(drawn.tolist()) == five)
print("as often as the softmax of what is left says:", bool((shares - expected).abs().sum() / 2 < 0.05))
print("at T = 3 it is the same five:", set(hot.tolist()) == five)
print("and they are drawn more evenly:", bool(torch.bincount(hot).max() < torch.bincount(drawn).max()))
print("k = 1 is greedy:", bool((sample_top_k(held_logits, 1) == held_logits.argmax(-1)).all()))
print("k = vocabulary changes nothing:", bool((top_k_filter(held_logits, vocab) == held_logits).all()))

# %% [markdown]
# ## Top-p
#
# A fixed k is too many where the model is sure and too few where it is not. The nucleus is the smallest set of tokens
# that holds the probability p, so its size follows the model.

# %%
# NBVAL_CHECK_OUTPUT
probs = held_logits.softmax(-1)
kept = top_p_filter(held_logits, 0.9).isfinite()
mass = (probs * kept).sum(-1)
last_in = torch.where(kept, probs, 1).amin(-1)
sizes = kept.sum(-1)
drawn = sample_top_p(unsure.expand(5000, -1), 0.5, 2.0, generator=torch.Generator().manual_seed(0))
nucleus_at_2 = set(top_p_filter(unsure / 2, 0.5).isfinite().nonzero().flatten().tolist())

print("every nucleus holds at least 90 %:", bool((mass > 0.9 - 1e-6).all()))
print("and without its last token less:", bool((mass - last_in < 0.9 + 1e-6).all()))
print("nobody outside is more probable than one inside:", bool((torch.where(kept, 0, probs).amax(-1) <= last_in).all()))
print("a tiny p is greedy:", bool((sample_top_p(held_logits, 1e-6) == held_logits.argmax(-1)).all()))
print("the smallest nucleus has one token:", int(sizes.min()) == 1)
print("the largest has more than 100:", int(sizes.max()) > 100)
print(
    "the temperature comes first, and widens the nucleus:", set(drawn.tolist()) <= nucleus_at_2, len(nucleus_at_2) > 20
)

# %%
levels = {0.5: "tab:blue", 0.8: "tab:cyan", 0.95: "tab:orange"}
figure, axes = plt.subplot_mosaic("abb;ccc", figsize=(8.2, 5.4), layout="constrained")
for axis, prompt, shown in ((axes["a"], " Wind from the", 8), (axes["b"], " One morning the", 125)):
    ordered, tokens = next_logits(prompt).softmax(-1).sort(descending=True)
    colours = ["lightgray"] * vocab
    for p in sorted(levels, reverse=True):  # the smallest nucleus is painted last
        inside = top_p_filter(next_logits(prompt), p).isfinite()[tokens].tolist()
        colours = [levels[p] if member else colour for member, colour in zip(inside, colours, strict=True)]
        axis.bar(0, 0, color=levels[p], label=f"p = {p:g}: {sum(inside)}")
    axis.bar(range(1, shown + 1), ordered[:shown], color=colours[:shown])
    axis.set_title(f'"{prompt.strip()} ..."', fontsize=10)
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], names[::-1], frameon=False, fontsize=9, title="in the nucleus", title_fontsize=9)
    if shown < 20:
        names = [pieces.names[token].strip() for token in tokens[:shown]]
        axis.set_xticks(range(1, shown + 1), names, rotation=90, fontsize=8)
axes["a"].set_ylabel("probability")
axes["b"].set(xlabel="rank of the token", xticks=[1, 25, 50, 75, 100, 125])

dry = next(number for number, tokens in enumerate(held_out) if "Wind from" in pieces.decode(tokens))
tale = next(number for number, tokens in enumerate(held_out) if pieces.decode(tokens).startswith(" One"))
names, heights = [], []
for number, shown in ((dry, 19), (tale, 21)):
    offset = sum(map(len, held_out[:number]))
    names += [*(pieces.names[token].strip() for token in held_out[number][:shown]), ""]
    heights += [*sizes[offset : offset + shown].tolist(), 0]
axis = axes["c"]
axis.bar(range(len(names)), heights, color="tab:blue")
axis.axhline(5, color="tab:orange", linewidth=1)
axis.text(9, 5.6, "k = 5", color="tab:orange", fontsize=9, ha="center")
axis.set(yscale="log", ylim=(0.8, vocab), xlim=(-0.8, len(names) - 1), ylabel="tokens in the nucleus")
axis.set_yticks([1, 10, 100], ["1", "10", "100"])
axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
axis.tick_params(axis="x", length=0)
axis.set_title("before each token of two held-out entries: how many tokens p = 0.9 leaves", fontsize=10)
plt.show()

# %% [markdown]
# A dry note and a tale. In the note the model mostly knows what comes, and top-k = 5 would still leave it four ways to
# go wrong. In the tale dozens of words could follow, and top-k = 5 would allow five; but after "Old" it can only be
# "Tobin", and the nucleus knows.


# %%
def nucleus(p, T=1.0, top_k=None):
    return lambda logits, tokens, generator: sample_top_p(logits, p, T, top_k, generator=generator)


def top_k(k, T=1.0):
    return lambda logits, tokens, generator: sample_top_k(logits, k, T, generator=generator)


plain = generate(at_temperature(1.0), copies=24)
report(
    {
        "the book": book,
        "plain sampling": measure(plain),
        "top-k = 40": measure(generate(top_k(40), copies=24)),
        "top-k = 5": measure(generate(top_k(5), copies=24)),
        "top-p = 0.95": measure(generate(nucleus(0.95), copies=24)),
        "top-p = 0.8": measure(generate(nucleus(0.8), copies=24)),
        "top-p = 0.8, T = 1.3": measure(generate(nucleus(0.8, 1.3), copies=24)),
    }
)
before = torch.cat([torch.full((24, 1), END), plain[:, :-1]], 1)
outside = ~top_p_filter(model(before)[0], 0.95).isfinite().gather(2, plain[..., None])[..., 0]
print(f"\nplain sampling leaves the nucleus of 0.95 at {100 * outside.float().mean():.1f} % of the tokens,")
print(f"and so does, at least once, {100 * outside.any(1).float().mean():.0f} % of its texts")
print()
show_text("top-p = 0.8", generate(nucleus(0.8), length=110, seed=3)[0])

# %% [markdown]
# Which when?
#
# - **Top-p 0.9 to 0.95 with T near 1** is the usual choice for open text: the tail goes, the variety stays.
# - **Top-k** bounds the work and the worst case. It is often set beside top-p (40, say) as a second fence.
# - **T = 0 or a small p** where one answer is right: extraction, code, arithmetic.
# - T and p pull at the same thing. Turn one of them; the last section shows the valley in which they trade.
#
# ## Repetition
#
# Greedy decoding looks like the safe choice. It is the one that gets stuck.


# %%
def greedy(logits, tokens, generator):
    return logits.argmax(-1)


stuck, sampled = generate(greedy, length=120)[0], generate(at_temperature(1.0), length=120, seed=3)[0]
show_text("greedy", stuck)

rows = {
    "greedy": stuck,
    "sampled, T = 1": sampled,
    "the book, held out": torch.tensor([t for e in held_out[:3] for t in e][:120]),
}
figure, axes = plt.subplots(3, 1, figsize=(8, 3.6), layout="constrained", sharex=True)
for axis, (name, tokens) in zip(axes, rows.items(), strict=True):
    logits = model(torch.cat([torch.tensor([END]), tokens[:-1]])[None])[0][0]
    chances = logits.softmax(-1).gather(1, tokens[:, None])[:, 0]
    again = [False] * 3 + seen_before(tokens.tolist())
    axis.bar(range(len(tokens)), chances, 1, color=["tab:orange" if old else "tab:blue" for old in again])
    axis.set(ylim=(0, 1), yticks=[0, 1], xlim=(-1, len(tokens)))
    axis.set_title(name, fontsize=10, loc="left", pad=3)
axes[0].bar(0, 0, color="tab:orange", label="ends a 4-gram that the text had before")
axes[0].legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.98), borderpad=0)
axes[1].set_ylabel("probability of the token")
axes[2].set_xlabel("token")
plt.show()

# %% [markdown]
# Real text is not a chain of likely tokens. It is a mixture of the obvious and the surprising, and so is a sample; the
# greedy text is neither. And a loop feeds itself: after the same words this small GRU is in the same state and must take
# the same turn again. Large transformers do worse, and grow surer of a phrase with each round.
#
# Three remedies work on the logits, before temperature and softmax:
#
# - **repetition penalty** $r$: the logits of tokens seen are divided by $r$ if positive, multiplied if negative. It
#   depends on where the model happens to put its zero, so a good $r$ for one model says little about another.
# - **frequency and presence penalties** subtract, per occurrence and once. Adding a constant to all logits changes
#   nothing.
# - **no repeated n-grams** is a hard ban. It does what it says, and also forbids names that have n tokens.

# %%
# NBVAL_CHECK_OUTPUT
history = torch.cat([torch.tensor([END]), stuck[:60], stuck[:30]])[None]  # it has begun to repeat itself
logits = model(history)[0][:, -1]
seen = torch.zeros(vocab, dtype=torch.bool)
seen[history[0]] = True


def seen_mass(changed):
    return float(changed.softmax(-1)[0, seen].sum())


def same(a, b):
    return bool(torch.allclose(a.softmax(-1), b.softmax(-1), atol=1e-5))


once = repetition_penalty(logits, history, 1.3)
subtracted = frequency_presence_penalty(logits, history, 0.1, 0.5)
banned = block_repeated_ngrams(logits, history, 4)
counts = torch.bincount(history[0], minlength=vocab)
print("penalty 1 does nothing:", bool((repetition_penalty(logits, history, 1.0) == logits).all()))
print("penalty 1.3 lowers every logit that was seen:", bool((once < logits)[0, seen].all()))
print("and no other:", bool((once == logits)[0, ~seen].all()))
print("it depends on the zero of the logits:", not same(repetition_penalty(logits + 5, history, 1.3), once))
print(
    "frequency 0.1 and presence 0.5 subtract 0.1 for each time and 0.5 once:",
    bool(torch.allclose(logits - subtracted, 0.1 * counts + 0.5 * (counts > 0), atol=1e-4)),
)
print("they do not depend on the zero:", same(frequency_presence_penalty(logits + 5, history, 0.1, 0.5), subtracted))
print("the ban hits the token that came next before:", banned[0, stuck[30]].item() == -math.inf)
print("and few others:", int((banned != logits).sum()) < 5)
print("all lower the mass of what was seen:", all(seen_mass(x) < seen_mass(logits) for x in (once, subtracted, banned)))

# %%
remedies = {
    "greedy": greedy,
    "repetition penalty 1.1": lambda z, t, g: repetition_penalty(z, t, 1.1).argmax(-1),
    "repetition penalty 1.5": lambda z, t, g: repetition_penalty(z, t, 1.5).argmax(-1),
    "frequency penalty 0.3": lambda z, t, g: frequency_presence_penalty(z, t, 0.3, 0).argmax(-1),
    "presence penalty 1": lambda z, t, g: frequency_presence_penalty(z, t, 0, 1.0).argmax(-1),
    "no 4-gram twice": lambda z, t, g: block_repeated_ngrams(z, t, 4).argmax(-1),
    "top-p = 0.9": nucleus(0.9),
}
openings = [" Monday", " One morning", " Old Tobin", " Captain Rusk", " In the winter", " Ines", " How to", " Pim"]
mended = {}
for name, pick in remedies.items():
    mended[name] = torch.cat([generate(pick, opening) for opening in openings])
verdicts = {name: measure(texts) for name, texts in mended.items()}
report({"the book": book} | verdicts)
print()
for name in ("repetition penalty 1.5", "frequency penalty 0.3", "no 4-gram twice"):
    show_text(name, mended[name][1, :85])

# %%
# NBVAL_CHECK_OUTPUT
print("greedy repeats more than twice as much as the book:", verdicts["greedy"]["repeated"] > 2 * book["repeated"])
print("with 4-grams banned nothing repeats:", verdicts["no 4-gram twice"]["repeated"] == 0)

# %% [markdown]
# - Mild settings halve the repetition, strong ones end it. But mended greedy text is still greedy text: look how far its
#   log-prob lies above the book's. A nucleus gets nearer to the book with no remedy at all.
# - The penalties fall on what is frequent, and that is mostly grammar: full stops, "the", the end of an entry. A very
#   strong one leaves sentences that cannot end.
# - For chat and stories: top-p, and a repetition penalty of 1.05 to 1.2 only if the model loops. For summaries by beam
#   search: no repeated trigrams. For code and for tables, which repeat themselves rightly: none.
#
# ## Beam search
#
# Greedy takes the best *token*, and may miss the best *sentence*. Beam search keeps `beam_width` prefixes. Two wrappers
# give it the model: one reads the whole prefix each time, one carries the state of the GRU along. A beam that is thrown
# away takes its state with it, so the states must be reordered with the beams, or the sentences get mixed up.

# %%
STOP = pieces.ids["."]  # we decode up to the end of a sentence


def whole_prefix(prompt, watch=None):
    """log_probs_fn for what follows the prompt, whose last token is the start token; `watch` collects what it sees."""
    begun = context(prompt)[:, :-1]

    def log_probs(tokens):
        if watch is not None:
            watch.append(tokens.tolist())
        return model(torch.cat([begun.expand(len(tokens), -1), tokens], 1))[0][:, -1].log_softmax(-1)

    return log_probs


def with_state(prompt):
    """The same as a step_fn: the cache is the GRU's state [beams, width]."""
    begun = context(prompt)[:, :-1]

    def step(last_tokens, state):
        if state is None:
            state = model(begun)[1].expand(len(last_tokens), -1)  # every row has read the same prompt
        logits, state = model(last_tokens[:, None], state)
        return logits[:, -1].log_softmax(-1), state

    return step


def start(prompt):
    return pieces.encode(prompt)[-1]


def spell(hypothesis):
    return pieces.decode(hypothesis.tokens[1:]).strip()


def total(prompt, tokens):
    """The log-probability of tokens [start, ...] after the prompt, added up by reading them once."""
    logits = model(torch.cat([context(prompt)[0, :-1], torch.tensor(tokens)])[None])[0][0, -len(tokens) : -1]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(tokens[1:])[:, None]).sum())


# %%
# NBVAL_CHECK_OUTPUT
prompts_for_beams = [" Mara", " One morning", " They brought", " Ines says that"]
widths = (1, 2, 4, 8)
found = {
    (prompt, width): beam_search(whole_prefix(prompt), start(prompt), STOP, width, 20)
    for prompt in prompts_for_beams
    for width in widths
}
cached = {key: beam_search_with_cache(with_state(key[0]), start(key[0]), STOP, key[1], 20) for key in found}
watched = []
beam_search(whole_prefix(" One morning", watched), start(" One morning"), STOP, 4, 20)
greedy_row = generate(greedy, " One morning", length=30)[0, 1:].tolist()
until = greedy_row.index(STOP) + 1 if STOP in greedy_row else len(greedy_row)

print("width 1 is greedy:", found[" One morning", 1][0].tokens[:until] == greedy_row[:until])
print("every list is sorted, best first:", all(a.score >= b.score for h in found.values() for a, b in pairwise(h)))
print("all hypotheses differ:", all(len({tuple(h.tokens) for h in beams}) == len(beams) for beams in found.values()))
print(
    "the scores are the model's own sums:",
    all(abs(total(prompt, h.tokens) - h.score) < 1e-3 for (prompt, _), beams in found.items() for h in beams),
)
print(
    "the search with the state finds the same:",
    all([h.tokens for h in cached[key]] == [h.tokens for h in found[key]] for key in found),
)
print("no call of the model reads more than 4 beams:", max(map(len, watched)) <= 4)
better = mean(found[p, 8][0].score for p in prompts_for_beams) > mean(found[p, 1][0].score for p in prompts_for_beams)
print("width 8 finds more probable sentences than greedy:", better)

# %%
prompt = " Mara"
steps = []
hypotheses = beam_search(whole_prefix(prompt, steps), start(prompt), STOP, 4, 20)
ends = {tuple(hypothesis.tokens): hypothesis for hypothesis in hypotheses}
children = {}
for prefix in {tuple(beam) for beams in steps for beam in beams} | ends.keys():
    while len(prefix) > 1 and prefix not in children.setdefault(prefix[:-1], []):
        children[prefix[:-1]].append(prefix)
        prefix = prefix[:-1]

rows_of = {}  # the leaves one below the other, every other node at the middle of its children


def settle(prefix):
    below = sorted(children.get(prefix, []), key=lambda child: -total(prompt, child))
    rows_of[prefix] = mean(map(settle, below)) if below else sum(not children.get(p) for p in rows_of)
    return rows_of[prefix]


settle((start(prompt),))
leads = {prefix[:length] for prefix in ends for length in range(1, len(prefix) + 1)}
winner = hypotheses[0].tokens
figure, axis = plt.subplots(figsize=(8.4, 0.25 * max(rows_of.values()) + 0.5), layout="constrained")
for prefix, row in rows_of.items():
    won = list(prefix) == winner[: len(prefix)]
    colour = "tab:orange" if won else "tab:blue" if prefix in leads else "darkgray"
    if len(prefix) > 1:
        left = len(prefix) - 2
        axis.plot(
            [left, left + 0.7, left + 0.95], [rows_of[prefix[:-1]]] * 2 + [row], color=colour, linewidth=1, zorder=won
        )
    name = pieces.names[prefix[-1]].strip()
    if prefix in ends:
        name += f"  {ends[prefix].score:.2f}"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axis.text(len(prefix) - 1, row, name, fontsize=9, color=colour, va="center", bbox=box, zorder=2)
axis.set(xlim=(-0.1, max(map(len, rows_of)) - 0.2), ylim=(max(rows_of.values()) + 0.6, -0.6))
axis.set_axis_off()
plt.show()

# %% [markdown]
# Orange is the best sentence, blue the other three that were found, grey what fell out of the beam. The search spends
# its four places on one idea with different numerals. Prefixes that begin with something rarer are dropped before they
# can show what they are worth.
#
# ### Length
#
# Every token makes a sum of log-probabilities smaller, so the plain sum prefers to stop early, and a wider beam finds
# more ways to stop early. Dividing by length to the power `length_penalty` counters this. Too much of it, and nothing
# wants to stop at all.

# %%
for width, alpha in ((4, 0.0), (8, 0.0), (8, 0.5), (8, 1.0), (8, 1.5)):
    best = beam_search(whole_prefix(" One morning"), start(" One morning"), STOP, width, 25, alpha)[0]
    summed = total(" One morning", best.tokens)
    print(
        f"width {width}, penalty {alpha:3}: {summed:6.2f} for {len(best.tokens) - 1:2} tokens: One morning {spell(best)}"
    )

# %%
# NBVAL_CHECK_OUTPUT
lengths, normed = {}, []
for alpha in (-1.0, 0.0, 1.0, 2.0):
    beams = [beam_search(whole_prefix(p), start(p), STOP, 8, 25, alpha) for p in prompts_for_beams]
    lengths[alpha] = mean(len(hypotheses[0].tokens) - 1 for hypotheses in beams)
    normed += [
        abs(total(p, h.tokens) / (len(h.tokens) - 1) ** alpha - h.score) < 1e-3
        for p, hypotheses in zip(prompts_for_beams, beams, strict=True)
        for h in hypotheses
    ]
print("every score is the sum, divided by length ** penalty:", all(normed))
print("the best sentences grow with the penalty:", all(a <= b for a, b in pairwise(lengths.values())))
print("and are more than twice as long at 2 as at 0:", lengths[2.0] > 2 * lengths[0.0])

# %% [markdown]
# ### The most probable sentence is not a typical one

# %%
prompt = " One morning"
rows = [row for row in generate(at_temperature(1.0), prompt, copies=400, length=40).tolist() if STOP in row]
begun = len(pieces.encode(prompt)) - 1
sums = torch.tensor([total(prompt, row[begun : row.index(STOP) + 1]) for row in rows])
best = found[prompt, 4][0]
print(f"the beam's sentence: {best.score:.1f}, and its probability {100 * math.exp(best.score):.2f} %")
print(f"the median of {len(rows)} sampled sentences: {sums.median():.1f}")
print(f"samples that are as probable as the beam's sentence: {100 * (sums >= best.score).double().mean():.1f} %")

# %% [markdown]
# The best sentence is millions of times as probable as a typical one, and still the model would hardly ever say it:
# the others are so many. What beam search returns is an exception. It reads as bland in stories and chat, and is right
# where there is one thing to be said: translation, speech recognition, captions.
#
# ## Diverse beam search
#
# Six hypotheses, and all of them count people. Split into groups, each group pays for the tokens that earlier groups took
# in the same step. The penalty only chooses: scores stay log-probabilities. A length penalty of 0.5 keeps out the
# shortest.

# %%
# NBVAL_CHECK_OUTPUT
strengths = (0.0, 0.5, 1.0, 2.0, 4.0)
grouped = {
    (p, strength): diverse_beam_search(
        whole_prefix(p), start(p), STOP, 6, 24, groups=3, diversity=strength, length_penalty=0.5
    )
    for p in prompts_for_beams
    for strength in strengths
}
alone = beam_search(whole_prefix(" Mara"), start(" Mara"), STOP, 6, 24, 0.5)
by_themselves = [
    diverse_beam_search(whole_prefix(" Mara"), start(" Mara"), STOP, 6, 24, groups=1, diversity=d, length_penalty=0.5)
    for d in (0.0, 2.0)
]


def spelt(groups):
    return [[hypothesis.tokens for hypothesis in group] for group in groups]


def variety(groups):
    """Different pairs of tokens, as a share of all pairs of all hypotheses."""
    pairs = [pair for group in groups for hypothesis in group for pair in ngrams(hypothesis.tokens, 2)]
    return len(set(pairs)) / len(pairs)


def cost(p, groups):
    return mean(total(p, hypothesis.tokens) / (len(hypothesis.tokens) - 1) for group in groups for hypothesis in group)


varieties = [mean(variety(grouped[p, strength]) for p in prompts_for_beams) for strength in strengths]
costs = [mean(cost(p, grouped[p, strength]) for p in prompts_for_beams) for strength in strengths]
print("a group by itself has nothing to avoid:", spelt(by_themselves[0]) == spelt(by_themselves[1]))
print(
    "without diversity all groups agree:",
    all(a == b == c for p in prompts_for_beams for a, b, c in [spelt(grouped[p, 0.0])]),
)
print(
    "the first group does not notice:",
    all(spelt(grouped[p, strength][:1]) == spelt(grouped[p, 0.0][:1]) for p, strength in grouped),
)
print(
    "the scores hold log-probabilities alone:",
    all(
        abs(total(p, h.tokens) / (len(h.tokens) - 1) ** 0.5 - h.score) < 1e-3
        for (p, _), groups in grouped.items()
        for group in groups
        for h in group
    ),
)
print("at 4 there is more variety than at 0:", varieties[-1] > varieties[0])

# %%
panels = {"beam search": [alone], "three groups, diversity 2": grouped[" Mara", 2.0]}
figure, axes = plt.subplots(2, 1, figsize=(8.4, 3.9), layout="constrained")
for axis, (title, groups) in zip(axes, panels.items(), strict=True):
    taken, y = set(), 0.0
    for group in groups:
        for hypothesis in group:
            tokens = hypothesis.tokens[1:]
            for column, token in enumerate(tokens):
                new = (column, token) not in taken
                taken.add((column, token))
                axis.barh(y, 0.96, 0.86, left=column, color="#ffb56b" if new else "whitesmoke")
                axis.text(column + 0.48, y, pieces.names[token].strip(), ha="center", va="center", fontsize=9)
            axis.text(-0.15, y, f"{hypothesis.score:.2f}", ha="right", va="center", fontsize=9)
            y += 1
        y += 0.35
    axis.set(xlim=(-0.8, 12), ylim=(y - 0.6, -0.6))
    axis.set_axis_off()
    axis.set_title(title, fontsize=10, loc="left", pad=3)
plt.show()
for strength, varied, price in zip(strengths, varieties, costs, strict=True):
    print(f"diversity {strength}: {100 * varied:3.0f} % of the pairs are different, {price:.2f} log-prob per token")

# %% [markdown]
# Orange marks a token that no sentence above had in that place. The price of variety is likelihood. Sampling gives
# variety for less code; the groups are worth it where a short list of *good and different* answers goes on to a
# reranker or to a person.
#
# ## Choosing T and p
#
# What is the best setting? There is none without a score. A clean score first: the perplexity of the held-out entries,
# from above, as a function of T. It has no noise and one valley, and a Gaussian process needs only a few looks at it. T is
# a ratio, so it is searched on a log scale.

# %%
# NBVAL_CHECK_OUTPUT
ranges = {"T": ("log", 0.5, 3.0)}


def held_out_perplexity(params):
    return perplexity((held_logits / params["T"]).log_softmax(-1).gather(1, held_tokens[:, None]))


def best_so_far(result):
    values = torch.tensor([value for _, value in result.trials])
    return values.cummin(0).values


searches = {"random": random_search, "Bayesian": bayesian_search}
curves = {
    name: torch.stack([best_so_far(search(held_out_perplexity, ranges, 10, seed=seed)) for seed in range(20)])
    for name, search in searches.items()
}
lowest = min(float(each.min()) for each in curves.values())
excess = {name: (each - lowest).median(0).values for name, each in curves.items()}
closer = float(excess["random"][-1] / excess["Bayesian"][-1])
print("in 10 trials the model gets three times as close as chance, or more:", closer > 3)

# %% [markdown]
# Now a score for what comes out. Ours asks a sample to be like the book: the differences in known words, repeated 4-grams
# and distinct pairs, in percentage points, added up; the words count three times, because a misspelt one hurts most.
# Each trial samples 64 texts, always with the same seed.

# %%
short_book = measure(book_texts(200, length=64))


def unlike_the_book(params, seed=5):
    sample = measure(generate(nucleus(params["p"], params["T"]), copies=64, length=64, seed=seed))
    weights = {"known words": 300, "repeated": 100, "distinct": 100}
    return sum(weight * abs(sample[name] - short_book[name]) for name, weight in weights.items())


steps_of_T, steps_of_p = [0.4, 0.6, 0.8, 1.0, 1.2, 1.4], [0.6, 0.7, 0.8, 0.9, 1.0]
plane = {"T": (0.4, 1.4), "p": (0.6, 1.0)}
found_by = {"grid": grid_search(unlike_the_book, {"T": steps_of_T, "p": steps_of_p})}
found_by |= {name: search(unlike_the_book, plane, 12, seed=1) for name, search in searches.items()}

# %%
# NBVAL_CHECK_OUTPUT
trials = {name: result.trials for name, result in found_by.items()}
print(
    "the grid tried every pair once:", len({(t["T"], t["p"]) for t, _ in trials["grid"]}) == 30 == len(trials["grid"])
)
for name in searches:
    print(f"{name}: 12 trials, all with another T:", len({t["T"] for t, _ in trials[name]}) == 12 == len(trials[name]))
    print("   and all within the ranges:", all(0.4 <= t["T"] <= 1.4 and 0.6 <= t["p"] <= 1 for t, _ in trials[name]))
for name, result in found_by.items():
    print(f"{name}: the best is the lowest:", result.best_value == min(value for _, value in result.trials))
    print("   and its params have that value:", (result.best_params, result.best_value) in result.trials)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained", width_ratios=[1, 1.3])
for name, colour in (("random", "black"), ("Bayesian", "tab:orange")):
    left.plot(range(1, 11), excess[name], color=colour)
    right.plot(
        *zip(*((t["T"], t["p"]) for t, _ in trials[name]), strict=True),
        "o",
        color=colour,
        markersize=5,
        label=name,
        clip_on=False,
        zorder=3,
    )
left.set(xlabel="trials", xticks=[1, 4, 7, 10], yscale="log")
left.set_title("perplexity above the lowest,\nmedian of 20 searches for T", fontsize=10)
scores = {(t["T"], t["p"]): value for t, value in trials["grid"]}
heights = [[scores[T, p] for T in steps_of_T] for p in steps_of_p]
shades = right.contourf(steps_of_T, steps_of_p, heights, levels=range(10, 65, 5), cmap="Blues", extend="both")
figure.colorbar(shades, ax=right)
right.set(xlabel="T", ylabel="top-p")
right.set_title("how unlike the book a sample is,\nand 12 trials each", fontsize=10)
figure.legend(*right.get_legend_handles_labels(), fontsize=9, frameon=False, ncols=2, loc="outside lower center")
plt.show()

# %% [markdown]
# The valley runs from "cool and uncut" to "hot and cut short": the two parameters pull at the same thing. Along it the
# trials can hardly be told apart, and chance finds it as easily as a model does. And each score is noisy, so the best of
# 54 trials is in part the luckiest. Before believing it, sample the leaders anew.

# %%
leaders = sorted((trial for result in found_by.values() for trial in result.trials), key=lambda trial: trial[1])[:5]
others = {"T": 1.0, "p": 1.0}, {"T": 0.7, "p": 1.0}
table = []
for params, score in [*leaders, *((params, unlike_the_book(params)) for params in others)]:
    table.append((mean(unlike_the_book(params, seed) for seed in (11, 12)), score, params["T"], params["p"]))
print("   T     p   in the search   with fresh seeds")
for fresh, score, T, p in table:
    print(f"{T:.2f}  {p:.2f}{score:16.1f}{fresh:19.1f}")
_, _, T, p = min(table)
print()
show_text(f"T = {T:.2f}, p = {p:.2f}", generate(nucleus(p, T), length=110, seed=7)[0])

# %% [markdown]
# And a score gets only what it asks for. The text has the book's words, formulas and variety; nothing in the score reads.
# Choose it with as much care as the model.
#
# ## Which parameter when
#
# | parameter | what it does | when | beware |
# | --- | --- | --- | --- |
# | temperature | divides all log-odds by T | 0 for one right answer, 0.6 to 1 for open text | above 1 the tail wins by number |
# | top-k | keeps k tokens | a fence beside top-p, a bound on work | blind to how sure the model is |
# | top-p | keeps the mass p | open text, 0.9 to 0.95 | after the temperature, so T changes its size |
# | repetition penalty | divides or multiplies logits | loops | depends on the zero of the logits |
# | frequency, presence | subtract from logits | loops, a change of subject | hit full stops and "the" |
# | no repeated n-grams | bans them | summaries by beam search | bans names and code as well |
# | beam width | keeps more prefixes | one right answer: translation, speech | bland; a wide beam ends too early |
# | length penalty | divides by length ** penalty | with every beam search | too much, and nothing ends |
# | diversity | groups avoid each other's tokens | short lists of different answers | costs likelihood |
#
# ## Try it
#
# Multiply by the temperature in your `temperature_probs`, leave the token that crosses p out of your nucleus, or forget
# to reorder the cache in your beam search, and run this again. Every one of the texts still looks like the harbour. Which
# lines say False? Then run `pytest tests/temperature_sampling` and the tests of its track, which need no eye for style.
