"""A room and a browser for the tests of one file, because torch takes seconds to load; each test has a kata of its own."""

import pytest

from dojo.tests.browser import headless_chromium
from dojo.tests.room.rooms import KATAS, NUMBERS, OneKata, room_of


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    with headless_chromium(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = room_of(tmp_path_factory.mktemp("room") / "checkout", katas=KATAS)
    yield room
    room.process.kill()
    room.process.wait()


@pytest.fixture
def kata(room):
    return OneKata(room.checkout, KATAS[next(NUMBERS)])


@pytest.fixture
def person(chrome, room):
    from dojo.tests.room.person import Person  # which needs selenium

    person = Person(chrome, room)
    person.look(1280)
    yield person
    chrome.get("about:blank")
