"""A class where a function is asked for.

reason: LinearBetas
"""

TEXT = "class LinearBetas:\n    def __init__(self, *_):\n        pass\n\n\n"


def build(folder):
    names = "linear_betas = cosine_betas = alphas_cumprod = snr = LinearBetas\n"
    (folder / "katas" / "noise_schedules.py").write_text(TEXT + names)
