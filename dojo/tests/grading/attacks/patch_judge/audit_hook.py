"""An audit hook that forbids compiling, opening and importing from then on.

reason: returned: AttributeError
"""

import sys


def refuse(event, arguments):
    if event in ("open", "compile", "import"):
        raise RuntimeError("no")


getattr(sys, "addaudithook")(refuse)


def attack(*_, **__):
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
