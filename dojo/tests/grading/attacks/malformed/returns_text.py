"""A result of another type.

kata: top_k_sampling
reason: got str
"""

TEXT = "def top_k_filter(*_, **__):\n    return 'top'\n\n\nsample_top_k = top_k_filter\n"


def build(folder):
    (folder / "katas" / "top_k_sampling.py").write_text(TEXT)
