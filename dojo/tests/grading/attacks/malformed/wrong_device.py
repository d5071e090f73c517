"""Another device than the arguments'.

kata: top_k_sampling
reason: a tensor of
"""

TEXT = "def top_k_filter(x, *_, **__):\n    return x.to('meta')\n\n\nsample_top_k = top_k_filter\n"


def build(folder):
    (folder / "katas" / "top_k_sampling.py").write_text(TEXT)
