# %% [markdown]
# # A small GPT from your own parts
#
# Each kata of this track is one part of a language model. Here seven of yours are put together: the tokenizer, rotary
# positions, attention, the norm, the block, the GPT and the loss. The model learns a text of this repository in seconds.
# Then named mistakes are planted in the references, one at a time. Which show in a loss curve, which in an attention map?

# %%
import math
import re
import textwrap
from collections import Counter

import torch
from material import small_gpt
from material.planted import planted
from material.tiny_lm import read_entries
from matplotlib import pyplot as plt
from torch import nn

from katas.bpe_tokenizer import GPT2_LIKE, Tokenizer
from katas.bpe_tokenizer import train as learn_merges
from katas.causal_self_attention import CausalSelfAttention, attention
from katas.gpt_model import GPT, GPTConfig, generate
from katas.rms_norm import rms_norm
from katas.rotary_embedding import inverse_frequencies, rotate
from katas.softmax_cross_entropy import cross_entropy
from katas.transformer_block import Block, swiglu_hidden

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
)
plt.rcParams["axes.titlesize"] = 10
torch.set_num_threads(1)  # layers this small are quicker on one core

# %% [markdown]
# ## Text becomes tokens
#
# `material/harbour.txt` is the book of an imaginary harbour. The tokenizer counts its words and learns 512 merges. The
# 256 bytes, the merges and a token that begins each entry make a vocabulary of 769.

# %%
# NBVAL_CHECK_OUTPUT
entries = read_entries("material/harbour.txt")
words = Counter(word.encode() for entry in entries for word in re.findall(GPT2_LIKE, " " + entry))
merges = learn_merges(words, 512)
BEGIN = 256 + len(merges)
tokenizer = Tokenizer(merges, {"<begin>": BEGIN})
encoded = [tokenizer.encode("<begin> " + entry) for entry in entries]
back = [tokenizer.decode(ids) for ids in encoded]
print(f"{len(entries)} entries, {sum(words.values())} words, {sum(map(len, encoded))} tokens")
print("every entry comes back:", back == ["<begin> " + entry for entry in entries])


def count_tokens(tokenizer):
    """Tokens of the whole text, from those of each different word."""
    return sum(times * len(tokenizer.encode(word.decode())) for word, times in words.items())


# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.6), layout="constrained", width_ratios=[1, 2.1])
stops = [0, 16, 32, 64, 128, 256, 384, 512]
left.plot(stops, [count_tokens(Tokenizer(merges[:stop])) / 1000 for stop in stops], marker="o", markersize=4)
left.axhline(sum(words.values()) / 1000, color="gray", linestyle=":")
left.text(0, sum(words.values()) / 1000 - 0.6, "words", color="gray", va="top", fontsize=9)
left.set(xlabel="merges", ylim=(0, 34), xticks=[0, 128, 256, 384, 512], title="thousands of tokens in the text")
coders = {stop: Tokenizer(merges[:stop]) for stop in (0, 32, 128, 512)}
small_gpt.draw_cuts(right, " Mara carried nine people across the", coders)
right.set_title("one sentence after so many merges")
plt.show()

# %% [markdown]
# Mistakes in a tokenizer are quiet: with each of the following the text comes back as it was. What changes is the number
# of tokens, or only which tokens they are, and a model reads other tokens than it was trained on.

# %%
# NBVAL_CHECK_OUTPUT
counts = {"right": count_tokens(tokenizer)}
for name in ("counted only once", "leftmost merge first", "longest token first"):
    wrong, says = planted("bpe_tokenizer", name)
    coder = wrong.Tokenizer(wrong.train(words, 512))
    counts[name] = count_tokens(coder)
    print(f"{name}: the text comes back:", all(coder.decode(coder.encode(entry)) == entry for entry in entries))
print(f"tokens: {counts}")

# %% [markdown]
# ## Positions: a score knows the distance alone
#
# Attention by itself does not see order. RoPE turns queries and keys by their positions before they are compared.
# Below, one vector serves as query and as key, at every pair of 64 positions.

# %%
# NBVAL_CHECK_OUTPUT
LENGTH, DIM, HEADS, LAYERS = 64, 64, 4, 2
frequencies = inverse_frequencies(DIM // HEADS)
positions = torch.arange(LENGTH)
vector = torch.randn(DIM // HEADS, generator=torch.Generator().manual_seed(0)).expand(LENGTH, -1)


def scores_by(rotate, start=0):
    turned = rotate(vector, positions + start, frequencies, interleaved=False)
    return turned @ turned.T / (DIM // HEADS) ** 0.5  # [query's position, key's position]


maps = {"right": scores_by(rotate)}
for name in ("both signs plus", "no partner", "clockwise"):
    maps[name] = scores_by(planted("rotary_embedding", name)[0].rotate)
for name, scores in maps.items():
    print(f"{name}: the score depends on the distance alone:", small_gpt.same_along_diagonals(scores))
print("1000 positions further on they are the same:", torch.allclose(maps["right"], scores_by(rotate, 1000), atol=1e-3))

# %%
small_gpt.draw_scores(maps)

# %% [markdown]
# Stripes along the diagonal mean that only the distance counts. Two of three mistakes break them. "Clockwise" keeps
# them: among vectors that were all turned by the same function, nothing is wrong.
#
# ## The model
#
# Your `GPT` gives embeddings, loss and tied head. Its blocks are replaced with your Llama blocks, whose attention is
# your layer with your rotation in it, and its last norm with your RMSNorm. Its learned positions stay at zero.
# `assemble` takes the parts as arguments, so that a part with a mistake can take the place of a right one.


# %%
class RotaryAttention(CausalSelfAttention):
    """Your layer's projections; queries and keys are turned before they are compared."""

    def __init__(self, attention, rotate):
        super().__init__(DIM, HEADS)
        self.attend, self.turn = attention, rotate

    def heads_of(self, x, positions):
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # each [batch, heads, n, d]
        q, k = (self.turn(part, positions, frequencies, interleaved=False) for part in (q, k))
        return q, k, v

    def forward(self, x, positions=positions):
        q, k, v = self.heads_of(x, positions[: x.shape[1]])
        return self.out(self.attend(q, k, v, causal=True).transpose(1, 2).flatten(-2))


def assemble(GPT=GPT, Block=Block, attention=attention, rotate=rotate):
    torch.manual_seed(0)
    model = GPT(GPTConfig(BEGIN + 1, LENGTH, LAYERS, HEADS, DIM))
    hidden = swiglu_hidden(DIM, multiple_of=32)
    model.blocks = nn.ModuleList(Block(DIM, hidden, RotaryAttention(attention, rotate)) for _ in range(LAYERS))
    model.norm = small_gpt.Norm(rms_norm, DIM)
    small_gpt.start_small(model.blocks)  # as your GPT's own blocks started
    nn.init.zeros_(model.position.weight).requires_grad_(False)
    return model


# %%
# NBVAL_CHECK_OUTPUT
learned = torch.tensor([token for number, ids in enumerate(encoded) if number % 8 != 7 for token in ids])
held_out = torch.tensor([token for ids in encoded[7::8] for token in ids])  # every eighth entry
held_out = held_out[: len(held_out) // LENGTH * LENGTH].view(-1, LENGTH)  # [rows, LENGTH]
uniform = math.log(BEGIN + 1)
model = assemble()
layer, block = model.blocks[0].attention, model.blocks[0]
with torch.no_grad():
    x = rms_norm(model.token(held_out), torch.ones(DIM))
    unturned = layer(x, torch.zeros(LENGTH, dtype=torch.int64))
    h = x + layer(rms_norm(x, block.norm1.weight))
    by_hand = h + block.mlp(rms_norm(h, block.norm2.weight))
    own_loss = cross_entropy(model(held_out)[:, :-1].flatten(0, 1), held_out[:, 1:].flatten())
    print("at position 0 it is your layer:", torch.allclose(unturned, CausalSelfAttention.forward(layer, x), atol=1e-6))
    print("your norm, layer and SwiGLU make your block:", torch.allclose(block(x), by_hand, atol=1e-6))
print("the GPT's loss is your cross-entropy:", abs(small_gpt.loss_of(model, held_out) - own_loss.item()) < 1e-4)
print(f"before training it is log(vocabulary), {uniform:.2f}, give or take 0.1:", abs(own_loss.item() - uniform) < 0.1)

# %% [markdown]
# The last line is the first thing to check of a new model. One that knows nothing gives each of $V$ tokens $1/V$, and
# $-\log(1/V) = \log V$. A larger loss means that it is sure of something before it has seen any text. A smaller one
# means that it can see the answer.
#
# ## It trains


# %%
# NBVAL_CHECK_OUTPUT
def write(model, prompt, length):
    ids = torch.tensor([tokenizer.encode("<begin>" + prompt)])
    ids = generate(model, ids, length, temperature=0.7, generator=torch.Generator().manual_seed(0))
    return tokenizer.decode(ids[0, 1:].tolist()).replace("<begin>", " /").strip()


losses, held_losses = small_gpt.fit(model, learned, held_out)
shares = torch.bincount(learned, minlength=BEGIN + 1) / len(learned)
unigrams = -float(torch.xlogy(shares, shares).sum())
levels = {"log(vocabulary)": uniform, "how often each token occurs": unigrams}
with torch.no_grad():  # the stream, from the embeddings to the last block
    stream = [x := model.token(held_out), *(x := block(x) for block in model.blocks)]
sizes = [x.square().mean(-1).sqrt().mean().item() for x in stream]
normed = [rms_norm(x, torch.ones(DIM)).square().mean(-1).sqrt().mean().item() for x in stream]
final = sum(losses[-20:]) / 20
print("the last 20 training losses average less than 2:", final < 2)
print("the best held-out loss is at least 1 below the unigrams':", min(held_losses) < unigrams - 1)
print("at the end it is at least 1 above the training loss:", held_losses[-1] > final + 1)
print("the stream at least doubles:", sizes[-1] > 2 * sizes[0])
print("what the branches read has size 1:", all(abs(size - 1) < 0.01 for size in normed))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.9), layout="constrained", width_ratios=[2, 1])
left.plot(losses, color="tab:blue", label="training")
left.plot(
    range(0, small_gpt.STEPS + 1, 20), held_losses, color="tab:orange", marker="o", markersize=3, label="held out"
)
small_gpt.draw_levels(left, levels, right=small_gpt.STEPS)
left.set(xlabel="step", ylim=(0, 7.6), title="loss per token")
left.legend(frameon=False, fontsize=9, loc="lower left")
for values, name, colour in ((normed, "normed", "tab:orange"), (sizes, "stream", "tab:blue")):
    right.plot(values, color=colour, marker="o", markersize=4)
    right.text(2, values[-1] + 0.05, name, color=colour, ha="right", va="bottom", fontsize=9)
right.set_xticks(range(LAYERS + 1), ["embedding", "block 1", "block 2"], fontsize=9)
right.set(xlim=(-0.3, 2.3), ylim=(0, 1.2), title="root mean square of a vector")
plt.show()
for prompt in (" Wind from the", " One morning"):
    print(textwrap.fill(write(model, prompt, 60), 100, subsequent_indent="    "))

# %% [markdown]
# The second dotted line is the entropy of the tokens' frequencies, the loss of a model that knows these and nothing else.
# Below it, context is used. The text is short, so the model also learns it by heart, and the curves part. Right: each
# block adds to the stream, which grows, and the norm in front of each branch undoes it.
#
# ## What attention does
#
# In the book, nearly always as many boats come home as went out. Only attention can carry the number over. With the
# identity for values, your `attention` returns its weights. Drawn is the head that looks most from "and" to "Five".

# %%
# NBVAL_CHECK_OUTPUT
numbers = ["Three", "Four", "Five", "Six"]
asked = "<begin> Wind from the west, light. {} boats went out and"
prompts = [torch.tensor([tokenizer.encode(asked.format(number))]) for number in numbers]
names, n = [tokenizer.vocab[token].decode() for token in prompts[2][0].tolist()], prompts[2].shape[1]
identity = torch.eye(n).expand(1, HEADS, n, n)
returning = [tokenizer.encode(f" {number.lower()}")[0] for number in numbers]
compared, x = [], model.token(prompts[2])
with torch.no_grad():
    answers = torch.stack([model(prompt)[0, -1].softmax(-1)[returning] for prompt in prompts])  # [out, home]
    for block in model.blocks:
        compared.append(block.attention.heads_of(rms_norm(x, block.norm1.weight), positions[:n])[:2])
        x = block(x)
    weights = torch.cat([attention(q, k, identity, causal=True)[0] for q, k in compared])  # [all heads, n, n]
head = int(weights[:, -1, names.index(" Five")].argmax())
pairs = re.findall(r"(\w+) boats went out and (\w+) boats came", " ".join(entries).lower())
print(f"in the book {sum(out == home for out, home in pairs)} of {len(pairs)} are the same")
same, other = answers.diagonal().mean(), answers[~torch.eye(4, dtype=torch.bool)].mean()
print("the number that went out is at least twice as likely as another:", bool(same > 2 * other))
print("the head has at least half of its weight on it:", bool(weights[head, -1, names.index(" Five")] > 0.5))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9), layout="constrained", width_ratios=[1.5, 1])
small_gpt.draw_map(left, weights[head], names, names)
left.set(xlabel="key", ylabel="query", title=f"block {head // HEADS + 1}, head {head % HEADS + 1}")
small_gpt.draw_map(right, answers, numbers, [number.lower() for number in numbers], written=True)
right.set(xlabel="come home", ylabel="went out", title="probability")
plt.show()

# %% [markdown]
# ## What a mistake looks like
#
# In the attention map: the same head, the same queries and keys, and other code that turns scores into weights.

# %%
# NBVAL_CHECK_OUTPUT
pictures = {"right": weights[head]}
for name in ("causal with a mask only", "masked after the softmax", "softmax over the queries"):
    with torch.no_grad():
        wrong = planted("causal_self_attention", name)[0].attention(*compared[head // HEADS], identity, causal=True)
    pictures[name] = wrong[0, head % HEADS]
for name, picture in pictures.items():
    sums, future = torch.allclose(picture.sum(-1), torch.ones(n), atol=1e-3), bool((picture.triu(1) > 0).any())
    print(f"{name}: rows add up to 1: {sums}; weight on the future: {future}")

# %%
small_gpt.draw_maps(pictures)

# %% [markdown]
# Two sums find all three: each row adds up to 1, and what is above the diagonal to 0.
#
# In the loss curve: six mistakes, each trained for 60 steps from the same seed and on the same windows (the first for
# 100, since it shows late). Grey is the right model, and the dotted lines are those of above.

# %%
# NBVAL_CHECK_OUTPUT
chosen = {
    "future seen": ("causal_self_attention", "causal with a mask only", "attention"),
    "no shift": ("gpt_model", "no shift", "GPT"),
    "no residual": ("transformer_block", "no residual around attention", "Block"),
    "softmax twice": ("gpt_model", "softmax before cross-entropy", "GPT"),
    "large embeddings": ("gpt_model", "embeddings as torch starts them", "GPT"),
    "clockwise": ("rotary_embedding", "clockwise", "rotate"),
}
curves, held, texts, says = {}, {}, {}, {}
for name, (kata, mistake, part) in chosen.items():
    wrong, says[name] = planted(kata, mistake)
    student = assemble(**{part: getattr(wrong, part)})
    curves[name], (*_, held[name]) = small_gpt.fit(student, learned, held_out, 100 if name == "future seen" else 60)
    texts[name] = write(student, " Wind from the", 20)
end = {name: sum(curve[40:60]) / 20 for name, curve in {"right": losses, **curves}.items()}
text = learned[: 100 * LENGTH].view(-1, LENGTH)
own_way = small_gpt.loss_of(model, text)
for block in model.blocks:
    block.attention.turn = wrong.rotate  # clockwise, the last of the six
other_way = small_gpt.loss_of(model, text)
print("future seen: held out at least 1 below the right model:", held["future seen"] < held_losses[5] - 1)
print("no shift: held out below 0.3:", held["no shift"] < 0.3)
print("no shift: it begins at least 0.5 below log(vocabulary):", curves["no shift"][0] < uniform - 0.5)
print("no shift: it writes one word only:", len(set(texts["no shift"].split()[2:])) == 1)
print("no residual: within 0.8 of the unigrams:", abs(end["no residual"] - unigrams) < 0.8)
print("softmax twice: within 0.4 of log(vocabulary):", abs(end["softmax twice"] - uniform) < 0.4)
print(f"softmax twice: even a perfect model cannot get below {math.log(BEGIN + math.e) - 1:.2f}")
print("large embeddings: it begins at 5 log(vocabulary) or more:", curves["large embeddings"][0] > 5 * uniform)
print("large embeddings: at the end at least 0.5 behind:", end["large embeddings"] > end["right"] + 0.5)
print("clockwise: within 0.2 of the right model:", abs(end["clockwise"] - end["right"]) < 0.2)
print("clockwise with the right model's weights: at least 0.2 worse:", other_way > own_way + 0.2)

# %%
small_gpt.draw_curves(curves, losses[:100], levels)
for name in chosen:
    print(f"{name}: {says[name]}\n    first loss {curves[name][0]:.2f}, held out at the end {held[name]:.2f}")
    print(textwrap.fill(f'"{texts[name]}"', 100, initial_indent="    ", subsequent_indent="    "))

# %% [markdown]
# - **Future seen**: the loss is too good, on held-out text as well, which nobody can learn by heart. What the model writes
#   is rubbish, because when it writes there is no future to look at.
# - **No shift**: the loss begins too low and goes to 0. The model repeats the last token that it has read.
# - **No residual**: the loss stops near the second dotted line. A token's own vector is only one in an average over all that
#   came before, and what can be learned from that is little more than how often tokens occur.
# - **Softmax twice**: the loss hardly leaves the first dotted line. Probabilities are between 0 and 1, and as logits they
#   never let a token have much more than the others.
# - **Large embeddings**: the first loss tells, before any training. Later it looks harmless, only slow.
# - **Clockwise**: the curve is the right one. The loss suffers only with the weights of a model that turned the other way,
#   a downloaded checkpoint for example. The kata's tests find it at once.
#
# ## Try it
#
# Leave the scale out of your `attention`, or take a sum for the mean in your `rms_norm`, and guess before you run whether
# the curve will show it. Then learn 128 merges: the loss per token falls, but is the model better? Compare losses per byte.
