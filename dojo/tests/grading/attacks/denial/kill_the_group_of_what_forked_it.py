"""SIGKILL to the group of the process that forked it.

reason: fail
"""

import os


def attack(*_, **__):
    getattr(os, "killpg")(os.getpgid(os.getppid()), 9)
    raise SystemError("GOT IT: a signal to the group of the process that forked it")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
