"""Generators.

reason: generator
"""

TEXT = "def linear_betas(*_):\n    yield 0\n\n\ncosine_betas = alphas_cumprod = snr = linear_betas\n"


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text(TEXT)
