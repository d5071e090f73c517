"""If after if, adding to a set; contradictions wherever they are noticed."""

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


def plan(request):
    methods = set()
    if request.text and not request.text.isspace():
        methods.add(Method.TEXT)

    if request.starting_image:
        if request.mask:
            methods.add(Method.INPAINTING)
        else:
            if Keep.OUTSIDE_MASK in request.keep:
                raise ValueError("outside of what?")
            if Keep.STRUCTURE in request.keep and len(request.keep) == 1:
                pass
            else:
                methods.add(Method.IMAGE_TO_IMAGE)
    else:
        if request.mask:
            raise ValueError("mask of what?")
        if len(request.keep) > 0:
            raise ValueError("keep what?")

    layouts = 0
    if request.control_map:
        layouts += 1
    if request.reference == Use.LAYOUT:
        layouts += 1
    if Keep.STRUCTURE in request.keep:
        layouts += 1
    if layouts == 1:
        methods.add(Method.CONTROLNET)
    elif layouts > 1:
        raise ValueError("two layouts")

    if request.reference == Use.STYLE or request.reference == Use.SUBJECT:
        methods.add(Method.IP_ADAPTER)
    if request.many_examples:
        methods.add(Method.LORA)
    if methods == set():
        raise ValueError("nothing")
    return frozenset(methods)
