"""What `alignment.ipynb` needs beside the learner's parts: its pictures."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from torch import Tensor

Curve = Sequence[tuple[int, Mapping[str, float]]]  # (step, numbers of the policy then)
RIGHT = {"right": "tab:blue", "DPO": "tab:blue", "GRPO": "tab:cyan"}
MISTAKES = ("tab:red", "tab:orange", "tab:green", "tab:purple", "black")
TITLES = {
    "reward": "reward",
    "KL": "KL, nats",
    "length": "tokens of an answer",
    "answers": "different answers",
}
TOPS = {"reward": 4.3, "length": 5.2}

MARKERS = {
    "reference": ("o", "gray"),
    "optimum": ("*", "gray"),
    "DPO": ("o", RIGHT["DPO"]),
    "GRPO": ("o", RIGHT["GRPO"]),
}
OFFSETS = {"beta has no effect": (6, 10), "k1 in the loss": (-6, 10), "DPO": (2, -12), "GRPO": (-8, 4)}  # in points


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """The colour of each name: one of its own for right code, and the next one of the mistakes' for a mistake."""
    mistakes = iter(MISTAKES)
    return {name: RIGHT.get(name) or next(mistakes) for name in names}


def draw_stage_one(
    losses: Mapping[str, Sequence[float]],
    entropy: float,
    taught: Mapping[str, Tensor],
    author: Tensor,
    lengths: Tensor,
) -> None:
    """Draws the losses as they are reported, averaged over ten steps, and how long the answers are of all who learned.

    `taught` and `author` are log-probabilities of all answers to each prompt, and `lengths` those answers' lengths.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3), layout="constrained")
    colours = colours_of(list(losses))
    left.axhline(entropy, color="gray", linestyle=":", linewidth=1)
    for name, curve in losses.items():
        means = [sum(curve[step : step + 10]) / 10 for step in range(0, len(curve), 10)]
        left.plot(range(5, len(curve), 10), means, color=colours[name], linewidth=3 if name in RIGHT else 1.4)
    left.set(xlabel="step", ylim=(0, None), title="loss, as the code reports it")
    sizes = range(1, int(lengths.max()) + 1)
    for name, log_probs in {"the author": author, **taught}.items():
        shares = [float((log_probs.exp() * (lengths == size)).sum(1).mean()) for size in sizes]
        colour = colours.get(name, "lightgray")
        style = "--" if name.startswith("padding") else "-"
        width = {"the author": 6, "right": 3}.get(name, 1.4)
        right.plot(sizes, shares, color=colour, linestyle=style, linewidth=width, label=name)
    right.set(xlabel="tokens of an answer", xticks=list(sizes), ylim=(0, 1.05), title="probability")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    plt.show()


def draw_lines(
    curves: Mapping[str, Curve],
    numbers: Sequence[str],
    levels: Mapping[str, float],
    seen: Mapping[str, Curve] | None = None,
    dashed: Sequence[str] = (),
) -> None:
    """Draws a panel for each number, with a line for each curve and a dotted line at the level of the optimum.

    `seen` are curves of the reward that the learner's loop sees where it is another than the reward, drawn thin.
    """
    figure, axes = plt.subplots(1, len(numbers), figsize=(8.4, 3), layout="constrained")
    colours = colours_of(list(curves))
    for axis, number in zip(axes, numbers, strict=True):
        axis.axhline(levels[number], color="gray", linestyle=":", linewidth=1)
        for name, curve in curves.items():
            axis.plot(
                [step for step, _ in curve],
                [values[number] for _, values in curve],
                color=colours[name],
                linestyle="--" if name in dashed else "-",
                linewidth=3 if name in RIGHT else 1.4,
                label=name,
                zorder=3 if name in dashed else 2,
            )
        axis.set(xlabel="step", title=TITLES[number])
        axis.set_ylim(0, TOPS.get(number))
    for name, curve in (seen or {}).items():
        steps, values = [step for step, _ in curve], [each["seen"] for _, each in curve]
        axes[0].plot(steps, values, color=colours[name], linewidth=1.2, linestyle=":")
        middle = (values[-1] + curve[-1][1]["reward"]) / 2
        axes[0].text(steps[-1], middle, "seen by the loop", color=colours[name], fontsize=8, ha="right", va="center")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    plt.show()


def draw_plane(frontier: Sequence[Mapping[str, float]], places: Mapping[str, Mapping[str, float]]) -> None:
    """Draws reward over KL: the most that any policy can have, a star at the optimum, and where each training ended."""
    _, axis = plt.subplots(figsize=(8.4, 3.6), layout="constrained")
    distances, rewards = ([each[number] for each in frontier] for number in ("KL", "reward"))
    axis.plot([*distances, 3.2], [*rewards, rewards[-1]], color="gray", linewidth=1)
    axis.fill_between([*distances, 3.2], [*rewards, rewards[-1]], 4.5, color="0.93", linewidth=0)
    for name, values in places.items():
        marker, colour = MARKERS.get(name, ("x", "tab:red"))
        axis.plot(values["KL"], values["reward"], color=colour, marker=marker, markersize=10 if marker == "*" else 6)
        x, y = OFFSETS.get(name, (8, 0))
        axis.annotate(
            name,
            (values["KL"], values["reward"]),
            (x, y),
            textcoords="offset points",
            color=colour,
            fontsize=9,
            va="center",
            ha="right" if x < 0 else "left",
        )
    axis.text(0.08, 4.25, "more than any policy can have", color="gray", va="center", fontsize=9)
    axis.set(xlabel="KL to the reference, nats", ylabel="reward", xlim=(-0.08, 3.2), ylim=(0, 4.5))
    plt.show()
