"""Stage 4. Requests as people make them."""

import pytest

from katas.choosing_conditioning import Request, Use

from .helpers import (
    COMPOSITION,
    CONTROLNET,
    IMAGE_TO_IMAGE,
    INPAINTING,
    IP_ADAPTER,
    LORA,
    OUTSIDE,
    STRUCTURE,
    TEXT,
    expect_plan,
)

STORIES = {
    "Here is my logo's pose map; draw our mascot (40 drawings attached) in that pose": (
        Request(text="our mascot", control_map=True, many_examples=True), {TEXT, CONTROLNET, LORA}),
    "Remove the car from this photo; here is where it stands; nothing else may change": (
        Request(starting_image=True, mask=True, keep=frozenset({OUTSIDE})), {INPAINTING}),
    "Put this one person into my holiday picture, there": (
        Request(starting_image=True, mask=True, reference=Use.SUBJECT, keep=frozenset({OUTSIDE})), {INPAINTING, IP_ADAPTER}),
    "Render my room in the style of this picture; walls and furniture stay exactly where they are": (
        Request(text="a room", starting_image=True, reference=Use.STYLE, keep=frozenset({STRUCTURE})),
        {TEXT, CONTROLNET, IP_ADAPTER}),
    "Vary this sketch a little, in our house style, for which we have 60 pictures": (
        Request(starting_image=True, many_examples=True, keep=frozenset({COMPOSITION})), {IMAGE_TO_IMAGE, LORA}),
    "More pictures like this one": (Request(reference=Use.STYLE), {IP_ADAPTER}),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_requests_as_people_make_them(story):
    """Read what there is and what must stay; the methods follow."""
    request, methods = STORIES[story]
    expect_plan(request, *methods, hint=f"the request: {story}")
