"""Half a character, and marks that turn the writing direction.

reason: fail
"""


def attack(*_, **__):
    raise RuntimeError("\ud800\udfff\ud83d \u202e01 fo 01\u2066 \u200b\ufeff" + "e\u0301\u0301\u0301\u0301" * 50)


linear_betas = cosine_betas = alphas_cumprod = snr = attack
