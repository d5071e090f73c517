"""A thread ends the process while the grader waits for the main one.

reason: it ended the process (exit code 0)
"""

import os
import threading
import time


def later():
    time.sleep(0.02)
    getattr(os, "_exit")(0)


def attack(*_, **__):
    threading.Thread(target=later).start()
    time.sleep(5)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
