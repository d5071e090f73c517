"""Answers wrongly at once, and puts it right in a thread when the clock has been stopped.

kata: top_k_sampling
reason: expected
"""

import threading
import time


def attack(logits, *_, **__):
    out = logits.detach().clone().zero_()

    def mend():
        time.sleep(0.05)
        out.copy_(logits.detach())

    threading.Thread(target=mend).start()
    return out


top_k_filter = sample_top_k = attack
