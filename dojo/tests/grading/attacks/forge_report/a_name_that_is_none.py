"""A class whose name is computed, and is no text.

reason: fail
"""


class Meta(type):
    @property
    def __name__(cls):
        return 10


class Evil(Exception, metaclass=Meta):
    pass


def attack(*_, **__):
    raise Evil


linear_betas = cosine_betas = alphas_cumprod = snr = attack
