"""Returns a generator: nothing has been computed yet.

kata: top_k_sampling
reason: got an object of class 'generator'
"""


def attack(logits, *_, **__):
    yield logits


top_k_filter = sample_top_k = attack
