"""Leaves politely in each call.

reason: it raised SystemExit
"""

import sys


def attack(*_, **__):
    sys.exit(0)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
