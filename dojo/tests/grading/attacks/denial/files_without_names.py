"""Writes 1.5 GB into files whose names are removed at once, so that no listing shows them.

reason: fail
"""

import os
import time

kept = []


def attack(*_, **__):
    for _ in range(90):
        kept.append(open("hidden", "wb"))
        os.unlink("hidden")
        for _ in range(16):
            kept[-1].write(bytes(2**20))
        time.sleep(0.01)
    raise SystemError("GOT IT: 1.4 GB without a name")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
