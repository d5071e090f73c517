"""NaN.

kata: top_k_sampling
reason: got nan
"""

TEXT = "def top_k_filter(x, *_, **__):\n    return x * float('nan')\n\n\nsample_top_k = top_k_filter\n"


def build(folder):
    (folder / "katas" / "top_k_sampling.py").write_text(TEXT)
