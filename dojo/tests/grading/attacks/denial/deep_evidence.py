"""A list in a list in a list.

kata: top_k_sampling
reason: fail
"""


def attack(*_, **__):
    whole = []
    for _ in range(100_000):
        whole = [whole]
    return whole


top_k_filter = sample_top_k = attack
