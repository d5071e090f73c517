"""How the formulas of docstrings are set, and what is left as it was typed."""

import pytest

from dojo.practice.formulas import typeset


@pytest.mark.parametrize(
    ("typed", "as_html"),
    [
        (
            "p_i = exp(z_i / T) / sum_j exp(z_j / T)",
            "p<sub>i</sub> = exp(z<sub>i</sub> / T) / ∑<sub>j</sub> exp(z<sub>j</sub> / T)",
        ),
        ("x_{t-1}, abar_{t-1}", "x<sub>t-1</sub>, abar<sub>t-1</sub>"),
        ("alpha_0 alpha_1 ... alpha_t", "alpha<sub>0</sub> alpha<sub>1</sub> ... alpha<sub>t</sub>"),
        ("beta-tilde_t = beta_t", "beta-tilde<sub>t</sub> = beta<sub>t</sub>"),
        ("softmax(logits_t)[token_{t+1}]", "softmax(logits<sub>t</sub>)[token<sub>t+1</sub>]"),
        ("softmax_j(l_i.)_i", "softmax<sub>j</sub>(l<sub>i.</sub>)<sub>i</sub>"),
        ("softmax_i(l_.j)_j", "softmax<sub>i</sub>(l<sub>.j</sub>)<sub>j</sub>"),
        ("down'_i(h_{i-1})", "down&#39;<sub>i</sub>(h<sub>i-1</sub>)"),
        (
            "K^T, n^2, 10^-3, e^{a b}, x^(n + 1)",
            "K<sup>T</sup>, n<sup>2</sup>, 10<sup>-3</sup>, e<sup>a b</sup>, x<sup>n + 1</sup>",
        ),
        ("sqrt(d) <= 3, a >= b, a != b, -inf", "√(d) ≤ 3, a ≥ b, a ≠ b, −∞"),
        ("scores of +-2e5, 1024 -> 1024", "scores of ±2e5, 1024 → 1024"),
    ],
)
def test_a_formula(typed, as_html):
    assert typeset(typed) == as_html


@pytest.mark.parametrize(
    "text",
    [
        "top_k, min_p, lora_A",
        "torch.from_numpy(a)",
        "block_k.",
        "F.log_softmax",
        "state_dicts",
        "x0_hat",
        "f(x)_tail",
        "IP_ADAPTER.",
    ],
)
def test_a_name_stays(text):
    assert typeset(text) == text


def test_code_stays_and_everything_is_escaped():
    assert typeset("`x_t <= 1` and <b>") == "<code>x_t &lt;= 1</code> and &lt;b&gt;"
