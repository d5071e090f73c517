"""The pictures of the README: `kata dev notebooks --pictures` draws them into docs/pictures, `--check` compares.

Compared is what is to be seen, not the bytes of the file, and a pixel may be a little off: sums come in another order on
another machine.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from . import shelf, show
from .adapters import Request
from .digits import load
from .measure import paint
from .measures import Look, strokes

DPI = 110
TOLERANCE = 2.0  # of 255, averaged over all pixels


def guidance() -> Figure:
    """The same noise, asked for each digit at growing scales."""
    model = shelf.painter()
    asked = Request(model, torch.arange(10))
    scales = (0.0, 1.0, 2.0, 5.0)
    return show.rows(
        [paint(asked, guidance=scale, seed=8) for scale in scales],
        [f"guidance scale {scale:g}" for scale in scales],
        [f'"{digit}"' for digit in range(10)],
        margin=1.4,
    )


def adapters() -> Figure:
    """Strokes of one unseen digit, the look of another, and what ControlNet, IP-Adapter and LoRA make of them."""
    learned, _, unseen = load()
    wanted = unseen[torch.cat([(unseen.labels == digit).nonzero()[4:5, 0] for digit in range(10)])]
    references = unseen[torch.cat([(unseen.labels == (digit + 5) % 10).nonzero()[6:7, 0] for digit in range(10)])]
    drawing = strokes(wanted.images)
    look = Look(learned)(references.images, references.labels)
    plain, imitator, leaning = shelf.painter(), shelf.painter(), shelf.painter()
    control = {"drawing": drawing, "controlnet": shelf.controlnet(plain)}
    both = {"drawing": drawing, "controlnet": shelf.controlnet(imitator)}
    adapter = {"look": look, "adapter": shelf.look_adapter(imitator)}
    shelf.leaning_lora(leaning)
    return show.rows(
        [
            paint(Request(plain, wanted.labels)),
            drawing,
            paint(Request(plain, wanted.labels, **control)),
            references.images,
            paint(Request(imitator, wanted.labels, **adapter)),
            paint(Request(imitator, wanted.labels, **both, **adapter)),
            paint(Request(leaning, wanted.labels)),
        ],
        ["text alone", "these strokes", "with ControlNet", "this look", "with IP-Adapter", "with both", "with LoRA"],
        [f'"{digit}"' for digit in range(10)],
        margin=1.3,
    )


PICTURES: dict[str, Callable[[], Figure]] = {"guidance.png": guidance, "adapters.png": adapters}


def pixels(figure: Figure) -> np.ndarray:
    """[height, width, 3], 0 to 255."""
    figure.set_dpi(DPI)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def differs(drawn: np.ndarray, now: np.ndarray) -> bool:
    """Whether one can see that they are not the same picture."""
    return drawn.shape != now.shape or bool(np.abs(drawn.astype(float) - now).mean() > TOLERANCE)


def main(folder: Path, check: bool) -> int:
    """Draws the pictures, or says which are not what is drawn now; returns the exit status."""
    torch.set_num_threads(1)
    mpl.use("agg")
    mpl.rcdefaults()
    stale = 0
    for name, draw in PICTURES.items():
        path = folder / name
        if not check:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(draw())).quantize(64).save(path, optimize=True)
            print(f"docs/pictures/{name} drawn.")
            continue
        if not path.is_file() or differs(np.asarray(Image.open(path).convert("RGB")), pixels(draw())):
            print(f"docs/pictures/{name} is not what the code draws now; draw it with `kata dev notebooks --pictures`.")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--check" in sys.argv))
