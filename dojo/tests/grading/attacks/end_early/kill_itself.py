"""SIGKILL to itself.

reason: it was killed (SIGKILL)
"""

import os


def attack(*_, **__):
    getattr(os, "kill")(os.getpid(), 9)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
