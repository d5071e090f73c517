"""Writes 800 MB, in files of which each is allowed.

reason: fail
"""

import time


def attack(*_, **__):
    for number in range(80):
        with open(f"part-{number}", "wb") as file:
            file.write(bytes(10 * 2**20))
        time.sleep(0.01)
    raise SystemError("GOT IT: 800 MB of files")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
