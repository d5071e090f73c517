"""A signal handler that raises in the worker's own code, between two cases: no fault of the grader's.

reason: 28 of 28 cases fail
"""

import torch


class Surprise(BaseException):
    pass


def ring(*_):
    raise Surprise


def attack(*_, **__):
    signal = vars(torch)["sys"].modules["signal"]
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0001)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
