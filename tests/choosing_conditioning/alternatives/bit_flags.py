"""Enum flags in place of sets: each rule switches a bit on or off, and the set is made at the end."""

from dataclasses import dataclass
from enum import Enum, Flag, auto


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


class _Bits(Flag):
    TEXT = auto()
    IMAGE_TO_IMAGE = auto()
    INPAINTING = auto()
    CONTROLNET = auto()
    IP_ADAPTER = auto()
    LORA = auto()


def plan(request):
    text, reference, keep = request.text.strip(), request.reference, request.keep
    bits = _Bits(0)
    bits |= _Bits.TEXT if text else _Bits(0)
    bits |= _Bits.LORA if request.many_examples else _Bits(0)
    if request.starting_image:
        bits |= _Bits.IMAGE_TO_IMAGE
    elif keep or request.mask:
        raise ValueError("no starting image")
    if keep == {Keep.STRUCTURE}:
        bits &= ~_Bits.IMAGE_TO_IMAGE
    if request.mask:
        bits = (bits | _Bits.INPAINTING) & ~_Bits.IMAGE_TO_IMAGE
    elif Keep.OUTSIDE_MASK in keep:
        raise ValueError("no mask")
    for source in (request.control_map, reference == Use.LAYOUT, Keep.STRUCTURE in keep):
        if source and bits & _Bits.CONTROLNET:
            raise ValueError("a second layout")
        bits |= _Bits.CONTROLNET if source else _Bits(0)
    if reference and reference != Use.LAYOUT:
        bits |= _Bits.IP_ADAPTER
    if not bits:
        raise ValueError("an empty request")
    return frozenset(Method[bit.name] for bit in _Bits if bit in bits)
