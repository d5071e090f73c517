"""Returns a promise.

kata: top_k_sampling
reason: got an object of class 'Future'
"""

from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(1)


def attack(logits, *_, **__):
    return pool.submit(lambda: logits)


top_k_filter = sample_top_k = attack
