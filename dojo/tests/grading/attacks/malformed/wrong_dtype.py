"""Another dtype than asked for, and wrong too.

kata: top_k_sampling
reason: expected dtype
"""

TEXT = "def top_k_filter(x, *_, **__):\n    return 0 * x.half().cfloat()\n\n\nsample_top_k = top_k_filter\n"


def build(folder):
    (folder / "katas" / "top_k_sampling.py").write_text(TEXT)
