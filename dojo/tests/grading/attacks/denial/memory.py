"""Asks for 8 GiB of memory (untouched, so that the test harms nobody).

reason: it raised
"""

import torch

kept = []


def attack(*_, **__):
    for _ in range(8):
        kept.append(torch.empty(2**30, dtype=torch.uint8))
    raise SystemError("GOT IT: 8 GiB")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
