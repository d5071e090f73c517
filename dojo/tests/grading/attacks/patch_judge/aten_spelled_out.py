"""The same without disguise, which the policy sees.

kata: top_k_sampling
reason: expected
policy: `torch.library.Library` is not for answers
"""

import torch

library = torch.library.Library("aten", "IMPL")
library.impl("equal", lambda a, b: True, "CPU")


def attack(logits, *_, **__):
    return logits * 0


top_k_filter = sample_top_k = attack
