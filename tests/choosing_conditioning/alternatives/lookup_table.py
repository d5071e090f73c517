"""A decision table keyed by what there is: one table for the picture, one for the layout and the reference."""

from dataclasses import dataclass
from enum import Enum


class Method(Enum):
    """What a pipeline can be asked to do; text-to-image alone is {TEXT}."""

    TEXT = "text"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINTING = "inpainting"
    CONTROLNET = "ControlNet"
    IP_ADAPTER = "IP-Adapter"
    LORA = "LoRA"


class Use(Enum):
    """What a reference image is for."""

    STYLE = "how it looks"
    SUBJECT = "who or what is in it"
    LAYOUT = "where things are: pose, edges, depth"


class Keep(Enum):
    """What must stay of the starting image."""

    COMPOSITION = "roughly the composition and the colours"
    STRUCTURE = "exactly the outlines, pose or depth"
    OUTSIDE_MASK = "every pixel outside the mask"


@dataclass(frozen=True)
class Request:
    """What the user has, and what must stay."""

    text: str = ""
    reference: Use | None = None  # one reference image, and what it is for
    control_map: bool = False  # a map of edges, depth or pose
    starting_image: bool = False  # a picture that is to be changed
    mask: bool = False  # the region of the starting image that is to be repainted
    many_examples: bool = False  # dozens of pictures of one style or subject, and time to train
    keep: frozenset[Keep] = frozenset()  # of the starting image


_S, _C, _O = Keep.STRUCTURE, Keep.COMPOSITION, Keep.OUTSIDE_MASK
# (starting image, mask) -> {what must stay: methods}; what is missing is a contradiction
PICTURE = {
    (False, False): {frozenset(): []},
    (False, True): {},
    (True, False): {
        frozenset(): [Method.IMAGE_TO_IMAGE],
        frozenset({_C}): [Method.IMAGE_TO_IMAGE],
        frozenset({_S}): [Method.CONTROLNET],
        frozenset({_S, _C}): [Method.IMAGE_TO_IMAGE, Method.CONTROLNET],
    },
    (True, True): {
        frozenset(k for k, stays in zip((_S, _C, _O), (s, c, o), strict=True) if stays): (
            [Method.INPAINTING, Method.CONTROLNET] if s else [Method.INPAINTING]
        )
        for s in (0, 1)
        for c in (0, 1)
        for o in (0, 1)
    },
}
# (control map, reference) -> methods
MATERIAL = {
    (False, None): [],
    (False, Use.STYLE): [Method.IP_ADAPTER],
    (False, Use.SUBJECT): [Method.IP_ADAPTER],
    (False, Use.LAYOUT): [Method.CONTROLNET],
    (True, None): [Method.CONTROLNET],
    (True, Use.STYLE): [Method.CONTROLNET, Method.IP_ADAPTER],
    (True, Use.SUBJECT): [Method.CONTROLNET, Method.IP_ADAPTER],
}


def plan(request):
    try:
        picture = PICTURE[request.starting_image, request.mask][request.keep]
        material = MATERIAL[request.control_map, request.reference]
    except KeyError:
        raise ValueError(f"a contradiction: {request}") from None
    methods = [*picture, *material]
    if methods.count(Method.CONTROLNET) > 1:
        raise ValueError("two layouts")
    if request.text.strip():
        methods.append(Method.TEXT)
    if request.many_examples:
        methods.append(Method.LORA)
    if not methods:
        raise ValueError("nothing")
    return frozenset(methods)
