"""Works in place, wrongly.

kata: top_k_sampling
reason: fail
"""

TEXT = "def top_k_filter(x, *_, **__):\n    return x.detach().fill_(-1)\n\n\nsample_top_k = top_k_filter\n"


def build(folder):
    (folder / "katas" / "top_k_sampling.py").write_text(TEXT)
