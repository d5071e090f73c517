"""Looks through all objects of the process for the text of a reference.

reason: returned: AttributeError
"""

import gc

MARK = "# kata" + ": begin"


def attack(*_, **__):
    for thing in getattr(gc, "get_objects")():
        values = thing.values() if type(thing) is dict else thing if type(thing) in (list, tuple) else ()
        for value in list(values):
            if type(value) is str and MARK in value and "return" in value:
                raise RuntimeError("GOT IT: a reference's text")
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
