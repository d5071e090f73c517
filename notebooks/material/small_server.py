"""What `serving.ipynb` needs beside the learner's parts: its pictures."""

from collections.abc import Sequence

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

Call = dict[int, tuple[int, int]]  # of one call of a model: what each request was given, (start, tokens)
COLOURS = [plt.get_cmap("tab20")(number) for number in range(20)]


def places_of(calls: Sequence[Call]) -> dict[int, list[int]]:
    """The place of each request in every call in which it runs: the lowest that is free when it begins."""
    places: dict[int, list[int]] = {}
    held: dict[int, int] = {}
    for call in calls:
        held = {id: place for id, place in held.items() if id in call}
        for id in call:
            if id not in held:
                held[id] = min(set(range(len(held) + 1)) - set(held.values()))
            places.setdefault(id, []).append(held[id])
    return places


def draw_calls(axis: Axes, calls: Sequence[Call], title: str) -> None:
    """Draws who runs in which call, a row for each place: dark where a call computes more than one token of a request."""
    places = places_of(calls)
    colours = {id: COLOURS[number % 20] for number, id in enumerate(places)}
    seen = dict.fromkeys(places, 0)
    for number, call in enumerate(calls):
        for id, (_, tokens) in call.items():
            place = places[id][seen[id]]
            seen[id] += 1
            axis.barh(place, 1, 0.86, left=number, color=colours[id], linewidth=0)
            if tokens > 1:
                axis.barh(place, 1, 0.3, left=number, color="black", alpha=0.75, linewidth=0)
    rows = 1 + max(max(each) for each in places.values())
    axis.set(ylim=(rows - 0.4, -0.6), yticks=range(rows), yticklabels=range(1, rows + 1), ylabel="place")
    axis.set_title(title, loc="left")


def draw_blocks(axis: Axes, tables: Sequence[dict[int, list[int]]], blocks: int) -> None:
    """Draws who holds which block in every call, in one colour for a request, and black where several hold it."""
    colours: dict[int, tuple[float, float, float]] = {}
    image = torch.ones(blocks, len(tables), 3)
    for number, held in enumerate(tables):
        owners: dict[int, list[int]] = {}
        for id, table in held.items():
            colours.setdefault(id, to_rgb(COLOURS[len(colours) % 20]))
            for block in table:
                owners.setdefault(block, []).append(id)
        for block, ids in owners.items():
            image[block, number] = torch.tensor(colours[ids[0]] if len(ids) == 1 else (0.0, 0.0, 0.0))
    axis.imshow(image, aspect="auto", interpolation="nearest")
    axis.set(xlabel="call", ylabel="block")
    axis.spines[:].set(visible=True, color="lightgray")
