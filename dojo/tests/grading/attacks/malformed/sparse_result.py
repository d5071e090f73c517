"""A sparse tensor.

kata: top_k_sampling
reason: NotImplementedError
"""

TEXT = "def top_k_filter(x, *_, **__):\n    return x.detach().to_sparse()\n\n\nsample_top_k = top_k_filter\n"


def build(folder):
    (folder / "katas" / "top_k_sampling.py").write_text(TEXT)
