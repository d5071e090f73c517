"""The gallery: its weights draw digits, its metrics are good, and its pictures are what its code draws."""

import json
import re

import pytest

from dojo.authoring import gallery
from dojo.core.paths import Checkout
from dojo.tests.checkouts import REPOSITORY

HERE = Checkout(REPOSITORY)
WEIGHTS = REPOSITORY / "notebooks" / "material" / "gallery" / "weights"


@pytest.fixture(autouse=True)
def _installed():
    for library in ("safetensors", "matplotlib", "PIL"):
        pytest.importorskip(library, reason="needs the `notebooks` extra")


def test_nine_of_ten_guided_samples_are_recognised():
    """Otherwise the notebooks' comparisons would mean nothing. The samples are the same at every run."""
    done = gallery.run(HERE, "measure", "--quick")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recognised"] >= 0.9


def test_the_metrics_show_that_every_model_works():
    """The training script measured them when it wrote the weights beside them."""
    metrics = json.loads((WEIGHTS / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["judge"]["accuracy on unseen digits"] > 0.97
    assert metrics["painter"]["recognised"] > 0.95
    assert metrics["painter"]["nearest learned"] > 0.8 * metrics["painter"]["nearest learned of unseen digits"]
    assert metrics["controlnet"]["structure"] > metrics["controlnet"]["structure without"] + 0.2
    assert metrics["look_adapter"]["look kept (correlation)"] > metrics["look_adapter"]["look kept without"] + 0.4
    lora = metrics["leaning_lora"]
    assert abs(lora["slant"] - lora["slant of the style"]) < 0.2 * abs(
        lora["slant without"] - lora["slant of the style"]
    )
    for name in ("painter", "controlnet", "look_adapter", "leaning_lora"):
        assert metrics[name]["bytes"] == (WEIGHTS / f"{name}.safetensors").stat().st_size


def test_the_weights_are_small():
    """Every clone of the repository contains them."""
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 400_000


def test_the_pictures_are_what_the_code_draws():
    """The README shows them."""
    assert gallery.draw_pictures(HERE, check=True) == []
    for path in (REPOSITORY / "docs" / "pictures").iterdir():
        assert path.stat().st_size < 60_000, path.name


def test_a_missing_picture_is_reported(tmp_path):
    """The check names it, and the command that draws it."""
    done = gallery.run(HERE, "pictures", str(tmp_path), "--check")
    assert done.returncode == 1
    assert re.findall(r"docs/pictures/(\w+\.png) is not .* `kata dev notebooks --pictures`", done.stdout) == [
        "guidance.png",
        "adapters.png",
    ]
