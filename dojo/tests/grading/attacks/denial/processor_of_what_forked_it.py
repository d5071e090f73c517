"""Keeps the process that forked it off most processors.

reason: it raised PermissionError
"""

import os


def attack(*_, **__):
    os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0))
    raise SystemError("GOT IT: the processors of the process that forked it")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
