"""A timer whose signal ends the process.

reason: it was ended by SIGALRM
"""

import time

import torch


def attack(*_, **__):
    signal = vars(torch)["sys"].modules["signal"]
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    time.sleep(5)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
