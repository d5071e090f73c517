"""Prints a hundred megabytes, to all outputs.

reason: returned: AttributeError
"""

import os
import sys


def attack(*_, **__):
    for _ in range(25):
        print("passed " * 150_000)
        sys.stderr.write("failed " * 150_000)
        os.write(1, b"." * 2**20)
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
