"""Starts twelve processes that sleep on.

reason: it raised PermissionError
"""

import os
import time


def attack(*_, **__):
    for _ in range(12):
        if not getattr(os, "fork")():
            time.sleep(60)
            getattr(os, "_exit")(0)
    raise SystemError("GOT IT: twelve processes")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
