"""Starts four hundred threads that sleep.

reason: it raised RuntimeError
"""

import threading

ended = threading.Event()


def attack(*_, **__):
    for _ in range(400):
        threading.Thread(target=ended.wait, args=(60,), daemon=True).start()
    raise SystemError("GOT IT: four hundred threads")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
