"""Returns what it was given.

kata: temperature_sampling
reason: fail
"""


def attack(first, *_, **__):
    return first


temperature_probs = sample_token = gumbel_sample = attack
