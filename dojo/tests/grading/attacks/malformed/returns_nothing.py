"""A forgotten return.

kata: temperature_sampling
reason: got None
"""

TEXT = "def temperature_probs(*_, **__):\n    pass\n\n\nsample_token = gumbel_sample = temperature_probs\n"


def build(folder):
    (folder / "katas" / "temperature_sampling.py").write_text(TEXT)
