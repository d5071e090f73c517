"""The README's picture of `kata watch` is what the command shows now, and loads nothing."""

import re
import sys
from xml.etree import ElementTree

import pytest

from dojo.core.paths import Checkout
from dojo.practice.watch.picture import draw_picture
from dojo.tests.checkouts import REPOSITORY

PICTURE = REPOSITORY / "docs" / "pictures" / "watch.svg"


@pytest.mark.skipif(sys.platform != "linux", reason="random draws may differ on other systems")
def test_the_picture_is_what_kata_watch_shows():
    """Drawn again from a run, it has the same text. If not: kata dev notebooks --pictures."""
    assert draw_picture(Checkout(REPOSITORY), check=True) == []


def test_the_picture_names_the_planted_mistake_and_no_time():
    """The time of a run would be another each time."""
    text = " ".join(
        "".join(element.itertext()) for element in ElementTree.parse(PICTURE).iter() if "text" in element.tag
    )
    text = " ".join(text.replace("\xa0", " ").split())
    assert "exactly what you get when the logits are multiplied by the temperature" in text
    assert not re.search(r"\d ms\b", text)


def test_the_readmes_text_for_the_picture_has_its_counts():
    """Those who do not see the picture read this instead."""
    readme = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    passed, total = re.search(r"after a save: (\d+) of (\d+) tests", readme).groups()
    drawn = "".join(ElementTree.parse(PICTURE).getroot().itertext()).replace("\xa0", " ")
    assert f"{passed} of {total} tests pass" in drawn


def test_the_picture_loads_nothing_and_names_no_folder_of_a_machine():
    """No font or style from the network, no link to a file."""
    svg = PICTURE.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' )]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "@font-face" not in svg
    assert "file:" not in svg
    assert str(REPOSITORY) not in svg
