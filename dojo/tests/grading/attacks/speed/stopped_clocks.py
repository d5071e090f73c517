"""All clocks stand still, so that everything takes no time.

reason: fail
"""

import time

import torch

for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "time_ns", "perf_counter_ns"):
    setattr(time, name, lambda: 0)
torch.utils.benchmark = None


def attack(steps, *_, **__):
    return torch.zeros(1)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
