"""Writes its answer a byte at a time, and never the last one.

reason: it was still running
"""

import os
import struct
import time


def attack(*_, **__):
    for pipe in range(3, 64):
        try:
            os.write(pipe, struct.pack("<4sIQ", b"kata", 2**21, 0))
            while True:
                os.write(pipe, b" ")
                time.sleep(0.02)
        except OSError:
            continue


linear_betas = cosine_betas = alphas_cumprod = snr = attack
