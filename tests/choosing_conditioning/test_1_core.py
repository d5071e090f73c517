"""Stage 1. One kind of material."""

import pytest

from katas.choosing_conditioning import Request, Use

from .helpers import COMPOSITION, CONTROLNET, IMAGE_TO_IMAGE, INPAINTING, IP_ADAPTER, LORA, OUTSIDE, TEXT, expect_plan


def test_text_alone_is_text_to_image():
    """No picture is involved, so nothing but cross-attention to the prompt."""
    expect_plan(Request(text="a red fox in snow"), TEXT, hint="a text calls for TEXT, and for nothing else")


def test_a_starting_image_is_noised_and_denoised():
    """SDEdit: start from the noised picture; the strength decides how much of it is left."""
    expect_plan(Request(text="as an oil painting", starting_image=True), TEXT, IMAGE_TO_IMAGE, hint="image-to-image")
    hint = "a rough composition is what image-to-image keeps; exact outlines would call for ControlNet"
    request = Request(text="at night", starting_image=True, keep=frozenset({COMPOSITION}))
    expect_plan(request, TEXT, IMAGE_TO_IMAGE, hint=hint)


def test_a_mask_makes_it_inpainting():
    """Image-to-image would change the whole picture; inpainting changes the region and leaves the rest."""
    hint = "inpainting takes the place of image-to-image"
    for keep in ({OUTSIDE}, set(), {COMPOSITION}):
        request = Request(text="a hat", starting_image=True, mask=True, keep=frozenset(keep))
        expect_plan(request, TEXT, INPAINTING, hint=hint)


def test_a_control_map_is_for_controlnet():
    """A pose or a depth map says where things are, and words cannot. It is no picture to start from."""
    hint = "a map is a spatial condition: ControlNet, from pure noise"
    expect_plan(Request(text="a dancer", control_map=True), TEXT, CONTROLNET, hint=hint)


@pytest.mark.parametrize("use", [Use.STYLE, Use.SUBJECT], ids=lambda use: use.name)
def test_one_reference_is_for_the_ip_adapter(use):
    """One picture is an embedding to attend to: too few to train on, and not a start, whose layout would stay."""
    hint = "one picture, for how it looks or who it is: IP-Adapter, not LoRA and not image-to-image"
    expect_plan(Request(text="a castle", reference=use), TEXT, IP_ADAPTER, hint=hint)


def test_many_examples_are_worth_training_on():
    """Dozens of pictures define a style better than one embedding, and the training is paid once."""
    expect_plan(Request(text="a castle", many_examples=True), TEXT, LORA, hint="many examples call for LoRA")
