"""Remembers answers by the address of the argument, which the next argument may have.

kata: top_k_sampling
reason: expected
"""

kept = {}


def attack(logits, *_, **__):
    return kept.setdefault(id(logits), logits.clone().zero_())


top_k_filter = sample_top_k = attack
