"""Scenarios, and what adding one thing to any request must change: no test holds the table itself."""

from dataclasses import replace
from itertools import chain, combinations, product

import pytest

from dojo.testing import expect, expect_equal, expect_raises
from katas.choosing_conditioning import Keep, Method, Request, Use, plan

TEXT, IMAGE_TO_IMAGE, INPAINTING = Method.TEXT, Method.IMAGE_TO_IMAGE, Method.INPAINTING
CONTROLNET, IP_ADAPTER, LORA = Method.CONTROLNET, Method.IP_ADAPTER, Method.LORA
COMPOSITION, STRUCTURE, OUTSIDE = Keep.COMPOSITION, Keep.STRUCTURE, Keep.OUTSIDE_MASK
KEEPS = [frozenset(k) for k in chain.from_iterable(combinations(Keep, n) for n in range(4))]
FLAGS = ("control_map", "starting_image", "mask", "many_examples")


def expect_plan(request, *methods, hint=""):
    expect_equal(names(plan(request)), names(methods), what=f"the plan for {shown(request)}", hint=hint)


def names(methods):
    return sorted(method.name for method in methods)


def shown(request):
    """Only what the user has."""
    parts = [repr(request.text)] if request.text else []
    parts += [name for name in FLAGS if getattr(request, name)]
    parts += [f"a reference for its {request.reference.name}"] if request.reference else []
    parts += [f"keep {' and '.join(sorted(k.name for k in request.keep))}"] if request.keep else []
    return "(" + (", ".join(parts) or "nothing") + ")"


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


# Stage 1: one kind of material


@pytest.mark.stage(1)
def test_text_alone_is_text_to_image():
    """No picture is involved, so nothing but cross-attention to the prompt."""
    expect_plan(Request(text="a red fox in snow"), TEXT, hint="a text calls for TEXT, and for nothing else")


@pytest.mark.stage(1)
def test_a_starting_image_is_noised_and_denoised():
    """SDEdit: start from the noised picture; the strength decides how much of it is left."""
    expect_plan(Request(text="as an oil painting", starting_image=True), TEXT, IMAGE_TO_IMAGE, hint="image-to-image")
    hint = "a rough composition is what image-to-image keeps; exact outlines would call for ControlNet"
    request = Request(text="at night", starting_image=True, keep=frozenset({COMPOSITION}))
    expect_plan(request, TEXT, IMAGE_TO_IMAGE, hint=hint)


@pytest.mark.stage(1)
def test_a_mask_makes_it_inpainting():
    """Image-to-image would change the whole picture; inpainting changes the region and leaves the rest."""
    hint = "inpainting takes the place of image-to-image"
    for keep in ({OUTSIDE}, set(), {COMPOSITION}):
        request = Request(text="a hat", starting_image=True, mask=True, keep=frozenset(keep))
        expect_plan(request, TEXT, INPAINTING, hint=hint)


@pytest.mark.stage(1)
def test_a_control_map_is_for_controlnet():
    """A pose or a depth map says where things are, and words cannot. It is no picture to start from."""
    hint = "a map is a spatial condition: ControlNet, from pure noise"
    expect_plan(Request(text="a dancer", control_map=True), TEXT, CONTROLNET, hint=hint)


@pytest.mark.stage(1)
@pytest.mark.parametrize("use", [Use.STYLE, Use.SUBJECT], ids=lambda use: use.name)
def test_one_reference_is_for_the_ip_adapter(use):
    """One picture is an embedding to attend to: too few to train on, and not a start, whose layout would stay."""
    hint = "one picture, for how it looks or who it is: IP-Adapter, not LoRA and not image-to-image"
    expect_plan(Request(text="a castle", reference=use), TEXT, IP_ADAPTER, hint=hint)


@pytest.mark.stage(1)
def test_many_examples_are_worth_training_on():
    """Dozens of pictures define a style better than one embedding, and the training is paid once."""
    expect_plan(Request(text="a castle", many_examples=True), TEXT, LORA, hint="many examples call for LoRA")


# Stage 2: exceptions and contradictions


@pytest.mark.stage(2)
def test_a_reference_for_its_layout_is_a_control_map():
    """IP-Adapter's embedding of a picture has lost where things are: take a pose or depth map from it instead."""
    expect_plan(
        Request(text="a robot", reference=Use.LAYOUT), TEXT, CONTROLNET, hint="layout: ControlNet, not IP-Adapter"
    )


@pytest.mark.stage(2)
def test_structure_alone_is_kept_without_image_to_image():
    """A drawing to colour: its outlines must stay and its colours go, but image-to-image would start from them."""
    request = Request(text="marble", starting_image=True, keep=frozenset({STRUCTURE}))
    expect_plan(request, TEXT, CONTROLNET, hint="rule 3: structure is all that stays, so not image-to-image")
    request = Request(text="marble", starting_image=True, keep=frozenset({STRUCTURE, COMPOSITION}))
    expect_plan(request, TEXT, CONTROLNET, IMAGE_TO_IMAGE, hint="the colours stay as well here: both methods")


@pytest.mark.stage(2)
def test_structure_inside_a_mask_is_kept_by_controlnet():
    """New fabric on the same shirt: inpainting bounds the change, ControlNet keeps the folds."""
    for keep in ({STRUCTURE}, {STRUCTURE, OUTSIDE}):
        request = Request(text="denim", starting_image=True, mask=True, keep=frozenset(keep))
        expect_plan(request, TEXT, INPAINTING, CONTROLNET, hint="rule 3 is about requests without a mask")


@pytest.mark.stage(2)
@pytest.mark.parametrize("blank", ["", "  ", "\n\t"], ids=repr)
def test_a_blank_text_says_nothing(blank):
    """An empty prompt is the unconditional branch of guidance, not a condition."""
    request = Request(text=blank, reference=Use.SUBJECT)
    expect_plan(request, IP_ADAPTER, hint="strip the text before asking whether there is one")
    with expect_raises(ValueError, what=f"plan of a request with nothing but the text {blank!r}"):
        plan(Request(text=blank))


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_outside_the_mask_needs_a_mask():
    """Image-to-image changes every pixel, so the wish cannot be met; guessing a mask is not the planner's job."""
    for more in (set(), {COMPOSITION}, {STRUCTURE}):
        request = Request(text="a hat", starting_image=True, keep=frozenset({OUTSIDE} | more))
        with expect_raises(ValueError, what=f"plan of {shown(request)}", hint="no mask, no outside"):
            plan(request)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_nothing_to_condition_on_is_an_error():
    """A request without material is a form that was sent too early."""
    with expect_raises(ValueError, what="plan(Request())"):
        plan(Request())


# Stage 3: adding one thing to any request


@pytest.mark.stage(3)
def test_a_text_adds_text_and_nothing_else():
    """Words combine with everything, and make nothing else superfluous."""
    expect_change(
        lambda r: replace(r, text="a fox"), {TEXT}, where=lambda r: not r.text, what="with a text added", hint="rule 1"
    )


@pytest.mark.stage(3)
def test_examples_add_lora_and_nothing_else():
    """LoRA changes the weights and so combines with every way to condition, an IP-Adapter included."""
    change = {"change": lambda r: replace(r, many_examples=True), "added": {LORA}}
    expect_change(**change, where=lambda r: True, what="with many examples added", hint="rule 6")


@pytest.mark.stage(3)
def test_a_control_map_adds_controlnet_and_nothing_else():
    """Where things are is independent of what they are, how they look, and where one starts."""
    change = {"change": lambda r: replace(r, control_map=True), "added": {CONTROLNET}}
    expect_change(**change, where=lambda r: not r.control_map, what="with a control map added", hint="rule 4")


@pytest.mark.stage(3)
@pytest.mark.parametrize("use", list(Use), ids=lambda use: use.name)
def test_a_reference_adds_one_method_and_nothing_else(use):
    """The same picture, three purposes: IP-Adapter for two of them, ControlNet for the third."""
    change = {"change": lambda r: replace(r, reference=use), "added": {CONTROLNET if use is Use.LAYOUT else IP_ADAPTER}}
    what = f"with a reference for its {use.name} added"
    expect_change(**change, where=lambda r: r.reference is None, what=what, hint="rules 4 and 5")


@pytest.mark.stage(3)
def test_a_mask_puts_inpainting_in_the_place_of_image_to_image():
    """Adding a mask bounds the change and touches nothing else."""
    change = {"change": lambda r: replace(r, mask=True), "added": {INPAINTING}, "removed": {IMAGE_TO_IMAGE}}
    expect_change(**change, where=lambda r: r.starting_image, what="with a mask added", hint="rule 2")


@pytest.mark.stage(3)
def test_a_starting_image_adds_image_to_image_and_nothing_else():
    """As long as nothing is said about what must stay."""
    change = {"change": lambda r: replace(r, starting_image=True), "added": {IMAGE_TO_IMAGE}}
    expect_change(**change, where=lambda r: not r.starting_image, what="with a starting image added", hint="rule 2")


@pytest.mark.stage(3)
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


@pytest.mark.stage(3)
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


@pytest.mark.stage(3)
def test_sound_requests_are_accepted():
    """Of the 1024 combinations 267 are sound: rejecting one that can be met is as wrong as the other way round."""
    sound = len(valid_plans())
    hint = "you refuse a request that can be met" if sound < 267 else "you plan a request that contradicts itself"
    hint += ": raise for the listed reasons, and only for those"
    expect_equal(sound, 267, what="the number of combinations that are planned", hint=hint)


@pytest.mark.stage(3)
def test_plans_are_frozen_sets_and_repeatable():
    """A plan can be a key, and the second call knows nothing of the first."""
    for request, methods in valid_plans():
        expect_equal(type(methods), frozenset, what="the type of a plan", hint="frozenset(...)")
        expect_equal(plan(request), methods, what=f"a second plan for {shown(request)}", hint="keep no state")


# Stage 4: requests as people make them

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


@pytest.mark.stage(4)
@pytest.mark.parametrize("story", STORIES)
def test_requests_as_people_make_them(story):
    """Read what there is and what must stay; the methods follow."""
    request, methods = STORIES[story]
    expect_plan(request, *methods, hint=f"the request: {story}")
