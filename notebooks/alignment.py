# %% [markdown]
# # From demonstrations to rewards: SFT, DPO and GRPO
#
# A tiny GPT learns to answer from demonstrations, with your SFT loss. Then it learns to answer better, in two ways: from
# pairs of answers with your DPO loss, and from a reward with your GRPO loss. The model knows five tokens, and an answer has
# at most five. So all 1365 answers to a prompt can be listed, and the reward, the KL divergence and the length are sums over
# that list. They are exact, and nothing about them is sampled.
#
# Each stage ends with named mistakes, planted in the references one at a time. What do they do to the three numbers?

# %%
import copy
import itertools
import math

import numpy as np
import torch
from material import small_alignment
from material.planted import planted
from matplotlib import pyplot as plt
from torch.nn import functional as F

from katas import dpo_loss, grpo_loss, sft_loss
from katas.gpt_model import GPT, GPTConfig, generate

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
)
plt.rcParams["axes.titlesize"] = 10
torch.set_num_threads(1)  # a model this small is quicker on one core
SEED = 0

# %% [markdown]
# ## Flags, and all answers to a prompt
#
# A prompt asks for two flags, `red green :`, or for one colour twice, `red red :`. An answer is a line of flags that ends
# with `<end>`. `<end>` is the padding, too, as in many tokenizers. Points:
#
# - 4 for an answer with exactly two flags of the colours asked for, 2 for one or three of them, 0 for any other number;
# - other flags may stand between them;
# - 0 for an answer without `<end>`.
#
# The mask of an answer comes from your functions. `completion_mask` ends it at the first `<end>`, and `build_labels` takes
# the prompt away. The reward reads the tokens under this mask, as a verifier would.

# %%
WORDS = ["<end>", ":", "red", "green", "blue"]
END, ASK, RED, GREEN, BLUE = range(5)
PROMPTS = torch.tensor(
    [[a, b, ASK] for a, b in [(RED, RED), (GREEN, GREEN), (BLUE, BLUE), (RED, GREEN), (GREEN, BLUE), (BLUE, RED)]]
)
ASKED, NEW = PROMPTS.shape[1], 5
others = [list(itertools.product(range(1, 5), repeat=n)) for n in range(NEW + 1)]  # of n tokens that are no <end>
answers = torch.tensor([[*line, *[END] * (NEW - n)] for n in range(NEW + 1) for line in others[n]])
rows = torch.cat([PROMPTS.repeat_interleave(len(answers), 0), answers.repeat(len(PROMPTS), 1)], 1)


def label(tokens, code=sft_loss):
    """The labels of rows: their answers up to the first <end>, and -100 elsewhere."""
    attended = F.pad(grpo_loss.completion_mask(tokens[:, ASKED:], [END]), (ASKED, 0), value=True)
    return code.build_labels(tokens, attended, torch.full((len(tokens),), ASKED))


def reward(tokens, mask):
    asked = ((tokens == tokens[:, :1]) | (tokens == tokens[:, 1:2])) & mask
    ended = ((tokens == END) & mask).any(1)
    return 2 * (2 - (asked.sum(1) - 2).abs()).clamp(min=0) * ended.float()


inside = label(rows) != -100
points = reward(rows, inside).view(len(PROMPTS), -1)  # [prompts, answers]
lengths = inside.sum(1).view(len(PROMPTS), -1)

# %% [markdown]
# The log-probabilities of all answers come from your `sequence_log_probs`. Answers that begin with the same four tokens share
# a row of the model.

# %%
first_four = ((answers[:, :4] - 1).clamp(min=0) * torch.tensor([64, 16, 4, 1])).sum(
    1
)  # <end> may be any: nothing reads it


def log_probs_of_all(model):
    """The log-probability of every answer to every prompt."""
    prefixes = rows.view(len(PROMPTS), len(answers), -1)[:, -(4**NEW) :: 4]
    with torch.no_grad():
        logits = model(prefixes.flatten(0, 1)).unflatten(0, prefixes.shape[:2])[:, first_four]
    return dpo_loss.sequence_log_probs(logits.flatten(0, 1), rows, inside).view(points.shape)


def numbers_of(log_probs, reference):
    """Exact, and averaged over the prompts. "answers" is the exponential of the entropy."""
    p = log_probs.exp()
    surprise, apart = torch.xlogy(p, p).sum(1), torch.where(p > 0, p * (log_probs - reference), 0).sum(1)
    return {
        "reward": (p * points).sum(1).mean().item(),
        "KL": apart.mean().item(),
        "length": (p * lengths).sum(1).mean().item(),
        "answers": (-surprise).exp().mean().item(),
    }


def print_table(table):
    columns = list(next(iter(table.values())))
    print(" " * 40 + "".join(f"{column:>9}" for column in columns))
    for name, values in table.items():
        print(f"{name:40}" + "".join(f"{values[column]:9.2f}" for column in columns))


def print_likely(log_probs, prompt=3, most=4):
    for place in log_probs[prompt].argsort(descending=True)[:most].tolist():
        text = " ".join(WORDS[token] for token in answers[place, : lengths[prompt, place]].tolist())
        print(f"    {log_probs[prompt, place].exp():.2f}  {text}")


# %% [markdown]
# ## The author
#
# The demonstrations come from an author who writes one to four flags. Half of them are what was asked for, and half are any.
# That is a distribution over the same list, so the model can be compared with it exactly. It also says what the loss per
# token of a perfect model is: the author's entropy.

# %%
# NBVAL_CHECK_OUTPUT
flags = inside & (rows > ASK)
is_asked = ((rows == rows[:, :1]) | (rows == rows[:, 1:2])) & flags
share = torch.where(rows[:, :1] == rows[:, 1:2], 1.0, 0.5)  # of each colour asked for
logs = torch.where(is_asked, (0.5 * share + 0.5 / 3).log(), math.log(0.5 / 3)).where(flags, 0.0).sum(1)
written = torch.tensor([0.0, 0.4, 0.3, 0.2, 0.1, 0.0])[flags.sum(1)].log()  # this many flags
proper = (rows[:, -1] == END) & ((rows[:, ASKED:] == ASK).sum(1) == 0)
author = (logs + written).where(proper, -torch.inf).view(points.shape)
of_author = numbers_of(author, author)
entropy = -(torch.xlogy(author.exp(), author.exp()).sum() / (author.exp() * lengths).sum()).item()
print(f"{len(answers)} answers to each of {len(PROMPTS)} prompts; with 4 points: {(points == 4).sum(1).tolist()}")
print("the author's probabilities add up to 1:", torch.allclose(author.exp().sum(1), torch.ones(len(PROMPTS))))
print(
    f"the author gets {of_author['reward']:.2f} points with {of_author['length']:.2f} tokens, and has {entropy:.2f} nats a token"
)

# %% [markdown]
# ## SFT
#
# Your labels, your loss, and the GPT of the kata `gpt_model`. Three mistakes in the labels learn from the same rows.


# %%
def fine_tune(code=sft_loss, steps=240, batch=32):
    """A model that has learned the author's demonstrations, and the loss of each step as the code computes it."""
    draw = torch.Generator().manual_seed(SEED)
    demonstrations = rows.view(len(PROMPTS), len(answers), -1)
    picked = torch.multinomial(author.exp(), 512, replacement=True, generator=draw)
    demonstrations = torch.cat([each[places] for each, places in zip(demonstrations, picked, strict=True)])
    labels = label(demonstrations, code)
    torch.manual_seed(SEED)
    model = GPT(GPTConfig(len(WORDS), ASKED + NEW, layers=1, heads=2, dim=32))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(labels), (batch,), generator=draw)
        loss = code.causal_lm_loss(model(demonstrations[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        losses.append(loss.item())
    return model, losses


base, losses = fine_tune()
reference = log_probs_of_all(base)
losses, taught = {"right": losses}, {"right": reference}
for name in ("the prompt counts", "padding on the right counts", "the padding token never counts"):
    student, losses[name] = fine_tune(planted("sft_loss", name)[0])
    taught[name] = log_probs_of_all(student)


# %%
# NBVAL_CHECK_OUTPUT
def from_author(log_probs):
    """The KL divergence of the author from the model."""
    return torch.where(author > -torch.inf, author.exp() * (author - log_probs), 0).sum(1).mean().item()


sft = {name: {**numbers_of(each, reference), "KL": from_author(each)} for name, each in taught.items()}
reported = {name: sum(curve[-20:]) / 20 for name, curve in losses.items()}
print(
    "the model's probabilities add up to 1:",
    torch.allclose(reference.exp().sum(1), torch.ones(len(PROMPTS)), atol=1e-4),
)
print("right: the loss is the author's entropy, give or take 0.08:", abs(reported["right"] - entropy) < 0.08)
print("right: within 0.12 nats an answer of the author:", sft["right"]["KL"] < 0.12)
print(
    "right: reward and length within 10 % of the author's:",
    all(abs(sft["right"][key] / of_author[key] - 1) < 0.1 for key in ("reward", "length")),
)
name = "padding on the right counts"
print("padding counts: the loss is at most 0.7 of the right one:", reported[name] < 0.7 * reported["right"])
print("padding counts: the reward is the same within 0.25:", abs(sft[name]["reward"] - sft["right"]["reward"]) < 0.25)
print(
    "the prompt counts: another loss, and no better answers:",
    sft["the prompt counts"]["KL"] > sft["right"]["KL"] - 0.02,
)
name = "the padding token never counts"
print("the padding token never counts: the loss is lower, too:", reported[name] < reported["right"] - 0.03)
print(
    "... but no answer ends: more than 4.8 tokens, less than 0.1 points:",
    sft[name]["length"] > 4.8 and sft[name]["reward"] < 0.1,
)

# %%
small_alignment.draw_stage_one(losses, entropy, taught, author, lengths)
print_table({name: {**values, "loss": reported[name]} for name, values in sft.items()})
print("the most likely answers to", " ".join(WORDS[token] for token in PROMPTS[3].tolist()))
print_likely(reference)

# %% [markdown]
# The KL divergence is that of the author from the model, per answer. All three mistakes report a lower loss than the right
# code.
#
# - **The padding counts**: two labels in five are now `<end>` after `<end>`, which is easy to learn. The answers are as good as
#   those of the right code, and the loss says nothing about them.
# - **The prompt counts**: the mean includes the prompt. With prompts this short, the answers do not change. The same mistake
#   returns below.
# - **The padding token never counts**: the model is not shown where an answer ends. It never stops.
#
# ## The optimum
#
# From here on the SFT model is the reference. A policy should have much reward and stay near the reference: it should
# maximise reward - beta KL. The optimum is known. It is proportional to reference exp(reward / beta), and over a list that can
# be computed. The optima of all betas are a frontier: no policy has more reward at the same KL.

# %%
# NBVAL_CHECK_OUTPUT
BETA = 1.0  # points per nat


def best(beta):
    return (reference + points / beta).log_softmax(1)


optimum = numbers_of(best(BETA), reference)
frontier = [numbers_of(best(20 * 0.9**step), reference) for step in range(60)]
start = numbers_of(reference, reference)
print("the optimum has at least 1.1 points more than the reference:", optimum["reward"] > start["reward"] + 1.1)
print("it is 0.4 to 0.8 nats away:", 0.4 < optimum["KL"] < 0.8)

# %% [markdown]
# ## DPO
#
# Pairs of answers are drawn from the reference. A judge prefers the first with probability sigmoid(its points - the points of
# the second). For such a judge the DPO loss has its minimum at the optimum of above, with the same beta. The loss reads neither
# the points nor the list.


# %%
def draw_pairs(number=768):
    """Rows of answers that the judge prefers, and of those that it does not, a `number` for each prompt."""
    draw = torch.Generator().manual_seed(SEED)
    pairs = torch.multinomial(reference.exp(), 2 * number, replacement=True, generator=draw)
    scores = points.gather(1, pairs).view(-1, 2)
    swapped = torch.rand(len(scores), generator=draw) > (scores[:, 0] - scores[:, 1]).sigmoid()
    pairs = (pairs + len(answers) * torch.arange(len(PROMPTS))[:, None]).view(-1, 2)
    pairs[swapped] = pairs[swapped].flip(1)
    return rows[pairs[:, 0]], rows[pairs[:, 1]]


pairs = torch.stack(draw_pairs())  # [2, pairs, length]: the preferred answers, and the others
with torch.no_grad():
    base_logits = base(pairs.flatten(0, 1))


def prefer(code=dpo_loss, labels=sft_loss, steps=192, batch=48):
    """The log-probabilities of all answers after training, and the numbers of every 32nd step."""
    masks = label(pairs.flatten(0, 1), labels).view(pairs.shape) != -100
    fixed = code.sequence_log_probs(base_logits, pairs.flatten(0, 1), masks.flatten(0, 1)).view(2, -1)
    draw = torch.Generator().manual_seed(SEED)
    policy, curve = copy.deepcopy(base), []
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for step in range(steps + 1):
        if step % 32 == 0:
            curve.append((step, numbers_of(log_probs_of_all(policy), reference)))
        if step == steps:
            return log_probs_of_all(policy), curve
        some = torch.randint(pairs.shape[1], (batch,), generator=draw)
        tokens = pairs[:, some].flatten(0, 1)
        log_probs = code.sequence_log_probs(policy(tokens), tokens, masks[:, some].flatten(0, 1)).view(2, -1)
        result = code.dpo_loss(*log_probs, *fixed[:, some], BETA)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        rate.step()


# %% [markdown]
# ## GRPO
#
# Now the policy answers itself, 16 times to each prompt, and `reward` gives the points. Your `generate` does not stop at
# `<end>`: later tokens stay in the row, and the mask leaves them out. Each sample is used for two steps. With
# `reduction="constant"` and unscaled advantages the loss is that of Dr. GRPO, which maximises reward - beta KL as well.


# %%
def reinforce(code=grpo_loss, labels=sft_loss, steps=100, group=16, **options):
    """The log-probabilities of all answers after training, and the numbers of every tenth step.

    "seen" is the reward of the last ten samples as the loop computes it.
    """
    options = {"beta": BETA, "reduction": "constant", "max_length": NEW, **options}
    draw = torch.Generator().manual_seed(SEED)
    policy, curve, means = copy.deepcopy(base), [], []
    optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-3, weight_decay=0.0, fused=True)

    def log_probs(model, tokens):
        return model(tokens)[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)

    for step in range(steps + 1):
        tokens = generate(policy, PROMPTS.repeat_interleave(group, 0), NEW, generator=draw)
        mask = label(tokens, labels) != -100
        seen = reward(tokens, mask)
        means.append(seen.mean().item())
        if step % 10 == 0:
            last = means[-10:]
            curve.append((step, {**numbers_of(log_probs_of_all(policy), reference), "seen": sum(last) / len(last)}))
        if step == steps:
            return log_probs_of_all(policy), curve
        advantages = code.group_advantages(seen, group, scale=False)
        with torch.no_grad():
            fixed = log_probs(base, tokens)
        old = None
        for _ in range(2):
            new = log_probs(policy, tokens)
            old = new.detach() if old is None else old
            loss = code.grpo_loss(new, old, advantages, mask[:, 1:], reference=fixed, **options)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


# %%
# NBVAL_CHECK_OUTPUT
finals, runs = {}, {}
finals["DPO"], runs["DPO"] = prefer()
finals["GRPO"], runs["GRPO"] = reinforce()
ends = {name: run[-1][1] for name, run in runs.items()}


def most(distance):
    """The reward on the frontier at this KL divergence."""
    return float(np.interp(distance, [each["KL"] for each in frontier], [each["reward"] for each in frontier]))


for name, gain in {"DPO": 0.4, "GRPO": 0.6}.items():
    reached = ends[name]["reward"]
    print(f"{name}: at least {gain} points more than the reference:", reached > start["reward"] + gain)
    print(f"{name}: no more than the frontier has, and at most 0.4 less:", 0 <= most(ends[name]["KL"]) - reached < 0.4)
    print(f"{name}: nearer to the reference than the optimum:", 0.1 < ends[name]["KL"] < optimum["KL"])
    print(f"{name}: at least 10 different answers:", ends[name]["answers"] > 10)

# %%
small_alignment.draw_lines(runs, ("reward", "KL", "length"), optimum)
print_table({"author": numbers_of(author, reference), "SFT, the reference": start, **ends, "optimum": optimum})
print("the most likely answers to", " ".join(WORDS[token] for token in PROMPTS[3].tolist()))
for name in ("DPO", "GRPO"):
    print(name)
    print_likely(finals[name])

# %% [markdown]
# The dotted lines are the optimum. It is the same for both, and both get most of the reward that their KL allows. Neither
# reaches it. DPO has 4608 pairs and 192 steps. In GRPO the divergence is k3: its mean is the KL, and its gradient is another
# than that of the KL.
#
# ## Mistakes in DPO
#
# The thick line is the right code. "The prompt counts" is the mistake in `build_labels` from above: the same function makes
# the masks here.

# %%
# NBVAL_CHECK_OUTPUT
prompt_counts = planted("sft_loss", "the prompt counts")[0]
right, of_dpo = ends["DPO"], {"DPO": runs["DPO"]}
for name in (
    "mean over tokens",
    "the last token of a response is dropped",
    "reference left out of the loss",
    "the padding is scored",
    "the prompt counts",
):
    if name == "the prompt counts":
        _, of_dpo[name] = prefer(labels=prompt_counts)
    else:
        _, of_dpo[name] = prefer(planted("dpo_loss", name)[0])
of_mean, of_end, of_none, of_padding, of_prompt = (run[-1][1] for run in list(of_dpo.values())[1:])
print("mean over tokens: at least twice as far from the reference:", of_mean["KL"] > 2 * right["KL"])
print("... and at least 0.3 points more:", of_mean["reward"] > right["reward"] + 0.3)
print("... with at most 0.6 times as many answers:", of_mean["answers"] < 0.6 * right["answers"])
print("last token dropped: at least 0.2 tokens longer:", of_end["length"] > right["length"] + 0.2)
print("... and at least 1.5 times as far away:", of_end["KL"] > 1.5 * right["KL"])
print("no reference: at least 0.2 points below where it began:", of_none["reward"] < start["reward"] - 0.2)
print("... more than 4.2 tokens, more than 150 answers:", of_none["length"] > 4.2 and of_none["answers"] > 150)
print("padding: the same reward within 0.3:", abs(of_padding["reward"] - right["reward"]) < 0.3)
print("prompt: the same reward within 0.1:", abs(of_prompt["reward"] - right["reward"]) < 0.1)

# %%
small_alignment.draw_lines(of_dpo, ("reward", "KL", "length"), optimum, dashed=("the prompt counts",))
print_table({name: run[-1][1] for name, run in of_dpo.items()})

# %% [markdown]
# - **Mean over tokens**: the mean of three tokens moves a third as much as their sum, so the loss asks for three times the
#   change. It gets more reward than the right code. Its price is the distance from the reference, and fewer answers.
# - **The last token is dropped**: the loss has no influence on when to stop. It raises the probability of flags, and answers
#   become longer.
# - **No reference**: the minimum is now proportional to exp(reward / beta). The author has no part in it. The policy unlearns
#   the demonstrations, and its reward falls below that of the reference.
# - **The padding is scored**: the numbers hardly show it. The model is nearly sure of `<end>` after `<end>`, which adds almost
#   0.
# - **The prompt counts**: no number can show it. Both answers have the same prompt, and in the margin it cancels.
#
# ## Mistakes in GRPO
#
# The mask of "the prompt counts" did no harm in a pair. Here the reward reads the tokens under the mask.

# %%
# NBVAL_CHECK_OUTPUT
right, of_grpo = ends["GRPO"], {"GRPO": runs["GRPO"]}
for name in ("beta has no effect", "k1 in the loss"):
    finals[name], of_grpo[name] = reinforce(planted("grpo_loss", name)[0])
finals["the prompt counts"], of_grpo["the prompt counts"] = reinforce(labels=prompt_counts)
all_points = numbers_of(best(0.01), reference)  # the nearest policy that gets them all
for name in ("beta has no effect", "k1 in the loss"):
    end = of_grpo[name][-1][1]
    print(f"{name}: at most 4 different answers a prompt:", end["answers"] < 4)
    print("... and 0.3 nats further than all the points need:", end["KL"] > all_points["KL"] + 0.3)
print("beta has no effect: at least 3.4 points:", of_grpo["beta has no effect"][-1][1]["reward"] > 3.4)
hacked = of_grpo["the prompt counts"][-1][1]
print(
    "the prompt counts: the reward that is seen grows by at least 0.5:",
    hacked["seen"] > of_grpo["the prompt counts"][0][1]["seen"] + 0.5,
)
print("... and the reward falls by at least 0.5:", hacked["reward"] < start["reward"] - 0.5)
print("... with answers at least 0.3 tokens shorter:", hacked["length"] < start["length"] - 0.3)

# %%
seen = {"the prompt counts": of_grpo["the prompt counts"]}
small_alignment.draw_lines(of_grpo, ("reward", "KL", "length", "answers"), optimum, seen)
print_table({name: run[-1][1] for name, run in of_grpo.items()})
for name in ("k1 in the loss", "the prompt counts"):
    print(name)
    print_likely(finals[name])

# %% [markdown]
# - **Beta has no effect**: the policy gets all points and collapses. To each prompt at least 64 answers get 4 points, and
#   the policy gives one or two of them. Its reward curve is the best of all.
# - **k1 in the loss**: the mean of k1 is the KL, and the mean of its gradient is 0. The policy collapses as if beta were 0.
# - **The prompt counts**: this is reward hacking. A prompt names two flags, so under this mask it has 4 points by itself. The
#   policy learns to add no flag of these colours. The reward in the loop grows, and the real one falls.
#
# ## All on one map

# %%
places = {"reference": start, "optimum": optimum, **ends}
places |= {name: run[-1][1] for name, run in list(of_dpo.items())[1:4]}
places |= {name: run[-1][1] for name, run in list(of_grpo.items())[1:3]}
places["the prompt counts, in GRPO"] = hacked
small_alignment.draw_plane(frontier, places)

# %% [markdown]
# The highest rewards belong to policies that have collapsed. Reward, KL and length belong side by side, the reward has to be
# checked on the answers as a reader gets them, and some answers should be read.
#
# ## Try it
#
# Train GRPO with "k2 in the loss". k2 is the worse estimate, but the mean of its gradient is the gradient of the KL. Does the
# policy end nearer to the star? Halve `BETA`: how do DPO and GRPO move along the frontier? Plant "every token counts" in
# `completion_mask`. What would a model have to write after `<end>` so that this mistake shows?
