"""prlimit on the process that forked it (reading them shows that setting works).

reason: fail
"""

import os

import torch


def attack(*_, **__):
    resource = vars(torch)["importlib"].import_module("resource")
    resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE)
    raise SystemError("GOT IT: the limits of the process that forked it")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
