"""Writes 800 MB into a folder that nobody may list.

reason: fail
"""

import os
import time


def attack(*_, **__):
    os.mkdir("closed")
    os.chmod("closed", 0o300)
    for number in range(80):
        with open(f"closed/part-{number}", "wb") as file:
            file.write(bytes(10 * 2**20))
        time.sleep(0.01)
    raise SystemError("GOT IT: 800 MB of hidden files")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
