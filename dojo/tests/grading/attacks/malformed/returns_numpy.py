"""A result of another library, and wrong too.

kata: top_k_sampling
reason: an object of class 'ndarray'
"""

TEXT = "def top_k_filter(x, *_, **__):\n    return 0 * x.detach().float().numpy()\n\n\nsample_top_k = top_k_filter\n"


def build(folder):
    (folder / "katas" / "top_k_sampling.py").write_text(TEXT)
