"""`tests/NAME/differences.json` is up to date: it spares a learner most of the wait for a mistake's name."""

import warnings
from pathlib import Path

import pytest

from dojo.core.catalog import load_catalog
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.engine import differences
from dojo.engine.known import complete_evidence, known_evidence
from dojo.testing.probes import load_probe

CHECKOUT = Checkout(Path(__file__).resolve().parents[3])
KATAS = [kata.name for kata in load_catalog(CHECKOUT).katas]
QUICK = ("lora_memory", "noise_schedules", "repetition_control", "mutability")


@pytest.mark.parametrize("kata", KATAS)
def test_every_mistake_is_listed(kata):
    """As reference, probe and mistake are now."""
    assert differences.is_current(CHECKOUT, kata), f"write it with: kata dev verify {kata} --write"


@pytest.mark.parametrize("kata", QUICK)
def test_it_lists_what_the_probe_shows(kata):
    """Of some katas, because it takes seconds for others."""
    probe = load_probe(CHECKOUT.probe(kata))
    with warnings.catch_warnings(action="ignore"):
        complete = complete_evidence(CHECKOUT, kata, probe, load_mistakes(CHECKOUT.mistakes(kata)).named)
        assert known_evidence(CHECKOUT, kata, probe).shown == complete.shown
