"""Maps 6 GiB anonymously, past Python's and torch's allocators.

reason: it raised
"""

import mmap

kept = []


def attack(*_, **__):
    for _ in range(6):
        kept.append(mmap.mmap(-1, 2**30))
    raise SystemError("GOT IT: 6 GiB")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
