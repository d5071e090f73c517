"""How good the gallery's models are, in figures: `python -m material.gallery.measure [--quick] [FOLDER]` prints them.

Run it in `notebooks/`, with the repository's root on PYTHONPATH and KATAS_DIR at the reference. Asked are 50 pictures of
each digit, by DDIM in 20 steps with a guidance scale of 2 (--quick: ten of each, of the painter alone).
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from katas.classifier_free_guidance import guided_eps
from katas.ddim import ddim_sample, ddim_timesteps
from katas.diffusion_training import ddpm_loss
from katas.noise_schedules import alphas_cumprod, cosine_betas

from . import shelf
from .adapters import Request, leaning_back
from .digits import Digits, Judge, load, spread
from .measures import Look, strokes, structure

STEPS, MAX_BETA = 1000, 0.1  # the schedule that the painter was trained with
COUNT, GUIDANCE = 20, 2.0


def schedule() -> Tensor:
    """abar, float32 [1000]: a cosine whose last betas are capped, so that no step has to multiply by thirty."""
    return alphas_cumprod(cosine_betas(STEPS, max_beta=MAX_BETA)).float()


def paint(request: Request, guidance: float = GUIDANCE, count: int = COUNT, seed: int = 1) -> Tensor:
    """The pictures [batch, 1, 8, 8] that a request asks for."""
    return ddim_sample(
        lambda x, t: guided_eps(request, x, t, request.conditions, request.null, guidance),
        (len(request.conditions), 1, 8, 8),
        ddim_timesteps(STEPS, count),
        schedule(),
        generator=torch.Generator().manual_seed(seed),
    )


def nearest(images: Tensor, learned: Digits) -> float:
    """The median distance to the nearest picture that the painter learned from: near 0, it has only copied."""
    distances = torch.cdist(images.clamp(-1, 1).flatten(1), learned.images.flatten(1))
    return distances.min(1).values.median().item()


def correlation(a: Tensor, b: Tensor) -> float:
    """The mean, over the measures of a look, of the correlation between two batches of looks [batch, 4]."""
    return torch.stack([torch.corrcoef(pair)[0, 1] for pair in torch.stack([a.T, b.T], 1)]).mean().item()


def _same_number_of_each(digits: Digits, each: int) -> Digits:
    return digits[torch.cat([(digits.labels == digit).nonzero()[:each, 0] for digit in range(10)])]


def measure(folder: Path = shelf.WEIGHTS, quick: bool = False) -> dict[str, Any]:
    """Every figure, rounded. Quick: how many of a hundred pictures the judge recognises, and nothing else."""
    learned, judges, unseen = load()
    judge = Judge(judges)
    each = 10 if quick else 50
    asked = torch.arange(10).repeat_interleave(each)
    images = paint(Request(shelf.painter(folder), asked))
    if quick:
        return {"recognised": judge.accuracy(images, asked)}
    figures = {
        "judge": {"accuracy on unseen digits": judge.accuracy(unseen.images, unseen.labels)},
        "painter": _painter(folder, images, asked, judge, learned, unseen),
        "controlnet": _controlnet(folder, judge, unseen),
        "look_adapter": _look_adapter(folder, judge, learned, unseen),
        "leaning_lora": _leaning_lora(folder, judges, learned),
    }
    for name in ("painter", "controlnet", "look_adapter", "leaning_lora"):
        figures[name]["parameters"], figures[name]["bytes"] = shelf.size(name, folder)
    return {
        part: {name: round(value, 4) if isinstance(value, float) else value for name, value in part_figures.items()}
        for part, part_figures in figures.items()
    }


def _painter(folder: Path, images: Tensor, asked: Tensor, judge: Judge, learned: Digits, unseen: Digits) -> dict:
    model = shelf.painter(folder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        losses = [
            ddpm_loss(lambda x, t: model(x, t, unseen.labels), unseen.images, schedule(), generator=generator)
            for _ in range(10)
        ]
    unguided = paint(Request(model, asked), guidance=1.0)
    return {
        "loss on unseen digits": torch.stack(losses).mean().item(),
        "recognised": judge.accuracy(images, asked),
        "recognised of the worst digit": min(
            judge.accuracy(images[asked == digit], asked[asked == digit]) for digit in range(10)
        ),
        "recognised without guidance": judge.accuracy(unguided, asked),
        "spread": spread(images, asked),
        "spread without guidance": spread(unguided, asked),
        "spread of unseen digits": spread(unseen.images, unseen.labels),
        "nearest learned": nearest(images, learned),
        "nearest learned of unseen digits": nearest(unseen.images, learned),
    }


def _controlnet(folder: Path, judge: Judge, unseen: Digits) -> dict:
    """Line drawings of unseen digits, each asked for by its name."""
    wanted = _same_number_of_each(unseen, 20)
    drawing = strokes(wanted.images)
    model = shelf.painter(folder)
    net = shelf.controlnet(model, folder)
    images = paint(Request(model, wanted.labels, drawing=drawing, controlnet=net))
    without = paint(Request(model, wanted.labels))
    return {
        "structure": structure(images, drawing).mean().item(),
        "structure without": structure(without, drawing).mean().item(),
        "recognised": judge.accuracy(images, wanted.labels),
    }


def _look_adapter(folder: Path, judge: Judge, learned: Digits, unseen: Digits) -> dict:
    """Looks of unseen digits, most of them carried to another digit."""
    wanted = _same_number_of_each(unseen, 20)
    order = torch.randperm(len(wanted), generator=torch.Generator().manual_seed(0))
    look_of = Look(learned)
    look = look_of(wanted.images, wanted.labels)[order]
    model = shelf.painter(folder)
    without = paint(Request(model, wanted.labels))
    images = paint(Request(model, wanted.labels, look=look, adapter=shelf.look_adapter(model, folder)))
    return {
        "look kept (correlation)": correlation(look_of(images, wanted.labels), look),
        "look kept without": correlation(look_of(without, wanted.labels), look),
        "recognised": judge.accuracy(images, wanted.labels),
    }


def _leaning_lora(folder: Path, judges: Digits, learned: Digits) -> dict:
    """Digits that lean back, judged by a judge of such digits. Slant is in pixels to the right for each pixel up."""
    asked = torch.arange(10).repeat_interleave(20)
    judge, look_of = Judge(leaning_back(judges)), Look(learned)
    model = shelf.painter(folder)
    without = paint(Request(model, asked))
    shelf.leaning_lora(model, folder)
    images = paint(Request(model, asked))
    style = leaning_back(learned)
    return {
        "slant": look_of.raw(images)[:, 1].mean().item(),
        "slant without": look_of.raw(without)[:, 1].mean().item(),
        "slant of the style": look_of.raw(style.images)[:, 1].mean().item(),
        "recognised by a judge of the style": judge.accuracy(images, asked),
        "recognised without": judge.accuracy(without, asked),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = [argument for argument in sys.argv[1:] if argument != "--quick"]
    folder = Path(arguments[0]) if arguments else shelf.WEIGHTS
    print(json.dumps(measure(folder, quick="--quick" in sys.argv), indent=2))
