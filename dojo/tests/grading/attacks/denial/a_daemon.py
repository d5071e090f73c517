"""Leaves a process behind in a session of its own, as daemons do; it would write a file later.

reason: it raised PermissionError
"""

import os
import time


def attack(*_, **__):
    fork = getattr(os, "fork")
    if fork():
        raise SystemError("GOT IT: a daemon")
    os.setsid()
    if fork():
        getattr(os, "_exit")(0)
    os.closerange(0, 256)
    time.sleep(60)
    getattr(os, "_exit")(0)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
