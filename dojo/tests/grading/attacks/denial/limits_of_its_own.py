"""Raises its own limits again.

reason: it raised ValueError
"""

import torch


def attack(*_, **__):
    resource = vars(torch)["importlib"].import_module("resource")
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    raise SystemError("GOT IT: no limit")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
