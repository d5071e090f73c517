"""What a kata forbids is refused in practice, however it is spelt, and nothing else is."""

from types import SimpleNamespace

import pytest

from dojo.testing import Wrong, expect_own_work

FORBIDDEN = ("scaled_dot_product_attention", "MultiheadAttention", "torch.utils.checkpoint")


def check(folder, source):
    file = folder / "kata.py"
    file.write_text(source)
    expect_own_work(SimpleNamespace(__file__=str(file)), FORBIDDEN)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.nn.functional.scaled_dot_product_attention(q, k, v)",
        "import torch.nn.functional as F\nF.scaled_dot_product_attention(q, k, v)",
        "from torch.nn import functional\nfunctional.scaled_dot_product_attention(q, k, v)",
        "\nfrom torch.nn.functional import scaled_dot_product_attention as sdpa",
        "import torch\ntorch.ops.aten.scaled_dot_product_attention(q, k, v)",
        "import torch.nn.functional as F\ngetattr(F, 'scaled_dot_product_attention')(q, k, v)",
        "from torch.nn.functional import *\nscaled_dot_product_attention(q, k, v)",
        "from torch import nn\nnn.MultiheadAttention(4, 2)",
        "import torch.nn.functional as F\nF.scaled_dot_product_attention(q, k, v)\ndef scaled_dot_product_attention(): ...",
        "from torch import nn\nclass Mine(nn.MultiheadAttention): pass",
        "\nimport torch.utils.checkpoint",
        "\nfrom torch.utils import checkpoint",
        "\nfrom torch.utils.checkpoint import checkpoint as again",
        "import torch\ntorch.utils.checkpoint.checkpoint(f, x)",
    ],
)
def test_a_forbidden_name_is_refused_by_every_spelling(tmp_path, source):
    """With the line, and the name as the rules give it."""
    with pytest.raises(Wrong, match=r"line 2 uses .*which this kata's rules forbid; write it yourself"):
        check(tmp_path, source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.softmax(q @ k.mT, -1) @ v",
        "def scaled_dot_product_attention(q, k, v): ...\nscaled_dot_product_attention(1, 2, 3)",
        "class A:\n    def f(self): return self.scaled_dot_product_attention()",
        "# unlike F.scaled_dot_product_attention\n'''nor torch.utils.checkpoint'''",
        "class A:\n    def scaled_dot_product_attention(self): ...\nlayer.scaled_dot_product_attention()",
        "def checkpoint(f, x): ...\ncheckpoint(1, 2)",
        "import torch.nn.functional as F\nif __name__ == '__main__':\n    F.scaled_dot_product_attention(1, 2, 3)",
    ],
)
def test_nothing_else_is_refused(tmp_path, source):
    """Functions of one's own with such a name, words, and what compares with torch when the file itself is run."""
    check(tmp_path, source)
