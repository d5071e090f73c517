"""Claims, in every way that a module can, to be the reference.

reason: returned: AttributeError
"""

__name__ = "solutions.noise_schedules"
__file__ = "/checkout/solutions/noise_schedules.py"
__version__ = __all__ = __score__ = 10
passed = True


def attack(*_, **__):
    return 0


linear_betas = cosine_betas = alphas_cumprod = snr = attack
