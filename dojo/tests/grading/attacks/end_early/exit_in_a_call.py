"""Ends the process with exit code 0 in its first call.

reason: it ended the process (exit code 0)
"""

import os


def attack(*_, **__):
    getattr(os, "_exit")(0)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
