"""Claims that nothing is written yet, in the stub's own words.

status: not_attempted
reason: Nothing in it is written yet
"""


def attack(*_, **__):
    raise NotImplementedError("noise_schedules.linear_betas: write me")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
