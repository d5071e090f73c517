"""SIGABRT, as a failed assertion in C would send it.

reason: it aborted the interpreter (SIGABRT)
"""

import os


def attack(*_, **__):
    getattr(os, "abort")()


linear_betas = cosine_betas = alphas_cumprod = snr = attack
