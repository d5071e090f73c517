"""Functions without parameters.

reason: takes 0 positional arguments
"""

TEXT = "def linear_betas():\n    return 0\n\n\ncosine_betas = alphas_cumprod = snr = linear_betas\n"


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text(TEXT)
