"""Calls itself through C until the stack is gone.

reason: it crashed the interpreter (SIGSEGV)
"""

import sys


class Deep:
    def __repr__(self):
        return repr([self])


def attack(*_, **__):
    sys.setrecursionlimit(10**9)
    return repr(Deep())


linear_betas = cosine_betas = alphas_cumprod = snr = attack
