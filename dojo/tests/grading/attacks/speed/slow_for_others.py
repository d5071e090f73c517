"""Sleeps through its time so that whoever shares the machine waits; its answer is wrong too.

reason: it was still running
"""

import time


def attack(*_, **__):
    time.sleep(30)
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
