"""Stage 3. Adding one thing to any request."""

from dataclasses import replace
from itertools import product

import pytest

from dojo.testing import expect, expect_equal, expect_raises
from katas.choosing_conditioning import Request, Use, plan

from .helpers import CONTROLNET, FLAGS, IMAGE_TO_IMAGE, INPAINTING, IP_ADAPTER, KEEPS, LORA, TEXT, names, shown


def requests():
    """Every combination of fields, contradictory ones as well."""
    for text, reference, keep, flags in product(("", "a fox"), (None, *Use), KEEPS, product((False, True), repeat=4)):
        yield Request(text=text, reference=reference, keep=keep, **dict(zip(FLAGS, flags, strict=True)))


def planned(request):
    """The plan, or None for a contradiction."""
    try:
        return plan(request)
    except ValueError:
        return None


def valid_plans():
    pairs = [(request, methods) for request in requests() if (methods := planned(request)) is not None]
    expect(pairs, "plan should accept requests, but raises ValueError for every one")
    return pairs


def expect_change(change, added, removed=(), *, where, what, hint):
    """Wherever both requests are sound, the changed one has `added` in addition and `removed` no more."""
    for request, before in valid_plans():
        if not where(request):
            continue
        after = planned(change(request))
        if after is not None:
            wanted = names((set(before) | set(added)) - set(removed))
            expect_equal(names(after), wanted, what=f"the plan for {shown(request)}, {what},", hint=hint)


def test_a_text_adds_text_and_nothing_else():
    """Words combine with everything, and make nothing else superfluous."""
    expect_change(
        lambda r: replace(r, text="a fox"), {TEXT}, where=lambda r: not r.text, what="with a text added", hint="rule 1"
    )


def test_examples_add_lora_and_nothing_else():
    """LoRA changes the weights and so combines with every way to condition, an IP-Adapter included."""
    change = {"change": lambda r: replace(r, many_examples=True), "added": {LORA}}
    expect_change(**change, where=lambda r: True, what="with many examples added", hint="rule 6")


def test_a_control_map_adds_controlnet_and_nothing_else():
    """Where things are is independent of what they are, how they look, and where one starts."""
    change = {"change": lambda r: replace(r, control_map=True), "added": {CONTROLNET}}
    expect_change(**change, where=lambda r: not r.control_map, what="with a control map added", hint="rule 4")


@pytest.mark.parametrize("use", list(Use), ids=lambda use: use.name)
def test_a_reference_adds_one_method_and_nothing_else(use):
    """The same picture, three purposes: IP-Adapter for two of them, ControlNet for the third."""
    change = {"change": lambda r: replace(r, reference=use), "added": {CONTROLNET if use is Use.LAYOUT else IP_ADAPTER}}
    what = f"with a reference for its {use.name} added"
    expect_change(**change, where=lambda r: r.reference is None, what=what, hint="rules 4 and 5")


def test_a_mask_puts_inpainting_in_the_place_of_image_to_image():
    """Adding a mask bounds the change and touches nothing else."""
    change = {"change": lambda r: replace(r, mask=True), "added": {INPAINTING}, "removed": {IMAGE_TO_IMAGE}}
    expect_change(**change, where=lambda r: r.starting_image, what="with a mask added", hint="rule 2")


def test_a_starting_image_adds_image_to_image_and_nothing_else():
    """As long as nothing is said about what must stay."""
    change = {"change": lambda r: replace(r, starting_image=True), "added": {IMAGE_TO_IMAGE}}
    expect_change(**change, where=lambda r: not r.starting_image, what="with a starting image added", hint="rule 2")


def test_any_picture_combines_with_any_other_material():
    """What is sound apart is sound together, and the plans add up; only two layouts cannot be joined."""
    valid_plans()
    for request in requests():
        picture = planned(replace(request, text="a fox", control_map=False, reference=None))
        others = planned(replace(request, text="a fox", starting_image=False, mask=False, keep=frozenset()))
        if picture is None or others is None or CONTROLNET in set(picture) & set(others):
            continue
        both = replace(request, text="a fox")
        got = planned(both)
        hint = "this is no contradiction: raise for the listed reasons only"
        expect(got is not None, f"{shown(both)} should be planned, but raises ValueError", hint=hint)
        expect_equal(
            names(got), names({*picture, *others}), what=f"the plan for {shown(both)}", hint="the parts add up"
        )


def test_contradictions_are_not_cured_by_more_material():
    """A text or examples make no request sound that was not; only an empty one is filled by them."""
    valid_plans()
    for request in requests():
        if request == Request() or planned(request) is not None:
            continue
        for more in ({"text": "a fox"}, {"many_examples": True}):
            richer = replace(request, **more)
            what = f"plan of {shown(richer)}, as {shown(request)} is refused,"
            with expect_raises(ValueError, what=what, hint="is the poorer request really one of the contradictions?"):
                plan(richer)


def test_sound_requests_are_accepted():
    """Of the 1024 combinations 267 are sound: rejecting one that can be met is as wrong as the other way round."""
    sound = len(valid_plans())
    hint = "you refuse a request that can be met" if sound < 267 else "you plan a request that contradicts itself"
    hint += ": raise for the listed reasons, and only for those"
    expect_equal(sound, 267, what="the number of combinations that are planned", hint=hint)


def test_plans_are_frozen_sets_and_repeatable():
    """A plan can be a key, and the second call knows nothing of the first."""
    for request, methods in valid_plans():
        expect_equal(type(methods), frozenset, what="the type of a plan", hint="frozenset(...)")
        expect_equal(plan(request), methods, what=f"a second plan for {shown(request)}", hint="keep no state")
