"""Locks a library of torch, which others may wait for.

reason: returned: AttributeError
"""

import torch

kept = []


def attack(*_, **__):
    fcntl = vars(torch)["importlib"].import_module("fcntl")
    kept.append(open(torch.__file__))
    fcntl.flock(kept[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
