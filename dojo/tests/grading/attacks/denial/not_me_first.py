"""Asks the kernel to end others first when memory runs out.

reason: fail
"""


def attack(*_, **__):
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")
    raise SystemError("GOT IT: out of the kernel's first choice")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
