"""A thread plants an exception in the worker's own code again and again.

reason: 28 of 28 cases fail
"""

import threading
import time

import torch


class Surprise(BaseException):
    pass


def plant():
    python = vars(torch)["sys"].modules["ctypes"].pythonapi
    main = threading.main_thread().ident
    ctypes = vars(torch)["sys"].modules["ctypes"]
    for _ in range(1000):
        python.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(Surprise))
        time.sleep(0.0005)


def attack(*_, **__):
    threading.Thread(target=plant, daemon=True).start()


linear_betas = cosine_betas = alphas_cumprod = snr = attack
