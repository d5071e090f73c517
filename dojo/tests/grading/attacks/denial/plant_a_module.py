"""Writes a module where the next process would import it, and a file that Python runs at each start.

reason: returned: AttributeError
"""

import os
import sys

import torch

dojo = vars(torch)["sys"].modules["dojo"]


def attack(*_, **__):
    for folder in (*sys.path, os.path.dirname(dojo.__file__), os.path.dirname(torch.__file__)):
        for name in ("kata-planted.pth", "kata-planted.py"):
            try:
                open(os.path.join(folder or ".", name), "x").close()
            except OSError:
                continue
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
