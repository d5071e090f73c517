"""Reads the address 0.

reason: it crashed the interpreter (SIGSEGV)
"""

import torch


def attack(*_, **__):
    vars(torch)["sys"].modules["ctypes"].string_at(0)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
