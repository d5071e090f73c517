"""Writes 800 MB below a path that is too long to be named.

reason: fail
"""

import os
import time


def attack(*_, **__):
    for _ in range(30):
        os.mkdir("x" * 200)
        os.chdir("x" * 200)
    for number in range(80):
        with open(f"part-{number}", "wb") as file:
            file.write(bytes(10 * 2**20))
        time.sleep(0.01)
    raise SystemError("GOT IT: 800 MB far below")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
