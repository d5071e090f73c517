"""Stage 2. Exceptions and contradictions."""

from dataclasses import replace

import pytest

from dojo.testing import expect_raises
from katas.choosing_conditioning import Request, Use, plan

from .helpers import (
    COMPOSITION,
    CONTROLNET,
    IMAGE_TO_IMAGE,
    INPAINTING,
    IP_ADAPTER,
    KEEPS,
    OUTSIDE,
    STRUCTURE,
    TEXT,
    expect_plan,
    shown,
)


def test_a_reference_for_its_layout_is_a_control_map():
    """IP-Adapter's embedding of a picture has lost where things are: take a pose or depth map from it instead."""
    expect_plan(
        Request(text="a robot", reference=Use.LAYOUT), TEXT, CONTROLNET, hint="layout: ControlNet, not IP-Adapter"
    )


def test_structure_alone_is_kept_without_image_to_image():
    """A drawing to colour: its outlines must stay and its colours go, but image-to-image would start from them."""
    request = Request(text="marble", starting_image=True, keep=frozenset({STRUCTURE}))
    expect_plan(request, TEXT, CONTROLNET, hint="rule 3: structure is all that stays, so not image-to-image")
    request = Request(text="marble", starting_image=True, keep=frozenset({STRUCTURE, COMPOSITION}))
    expect_plan(request, TEXT, CONTROLNET, IMAGE_TO_IMAGE, hint="the colours stay as well here: both methods")


def test_structure_inside_a_mask_is_kept_by_controlnet():
    """New fabric on the same shirt: inpainting bounds the change, ControlNet keeps the folds."""
    for keep in ({STRUCTURE}, {STRUCTURE, OUTSIDE}):
        request = Request(text="denim", starting_image=True, mask=True, keep=frozenset(keep))
        expect_plan(request, TEXT, INPAINTING, CONTROLNET, hint="rule 3 is about requests without a mask")


@pytest.mark.parametrize("blank", ["", "  ", "\n\t"], ids=repr)
def test_a_blank_text_says_nothing(blank):
    """An empty prompt is the unconditional branch of guidance, not a condition."""
    request = Request(text=blank, reference=Use.SUBJECT)
    expect_plan(request, IP_ADAPTER, hint="strip the text before asking whether there is one")
    with expect_raises(ValueError, what=f"plan of a request with nothing but the text {blank!r}"):
        plan(Request(text=blank))


@pytest.mark.parametrize(
    "request_",
    [Request(mask=True), *(Request(keep=k) for k in KEEPS[1:]), Request(mask=True, keep=frozenset({OUTSIDE}))],
    ids=shown,
)
def test_masks_and_things_to_keep_need_a_starting_image(request_):
    """There are no pixels to keep, and none to repaint; a reference or a control map is no starting image."""
    for also in ({}, {"reference": Use.STYLE}, {"many_examples": True}):
        request = replace(request_, text="a hat", **also)
        with expect_raises(ValueError, what=f"plan of {shown(request)}", hint="ask for the starting image"):
            plan(request)


def test_outside_the_mask_needs_a_mask():
    """Image-to-image changes every pixel, so the wish cannot be met; guessing a mask is not the planner's job."""
    for more in (set(), {COMPOSITION}, {STRUCTURE}):
        request = Request(text="a hat", starting_image=True, keep=frozenset({OUTSIDE} | more))
        with expect_raises(ValueError, what=f"plan of {shown(request)}", hint="no mask, no outside"):
            plan(request)


@pytest.mark.parametrize(
    "two",
    [
        Request(control_map=True, reference=Use.LAYOUT),
        Request(control_map=True, starting_image=True, keep=frozenset({STRUCTURE})),
        Request(reference=Use.LAYOUT, starting_image=True, keep=frozenset({STRUCTURE, COMPOSITION})),
        Request(control_map=True, reference=Use.LAYOUT, starting_image=True, keep=frozenset({STRUCTURE})),
    ],
    ids=shown,
)
def test_the_layout_has_one_source(two):
    """A pose map and the pose of another picture cannot both be obeyed."""
    for masked in (False, two.starting_image):
        request = replace(two, text="a dancer", mask=masked)
        with expect_raises(ValueError, what=f"plan of {shown(request)}", hint="count the sources of the layout"):
            plan(request)


def test_nothing_to_condition_on_is_an_error():
    """A request without material is a form that was sent too early."""
    with expect_raises(ValueError, what="plan(Request())"):
        plan(Request())
