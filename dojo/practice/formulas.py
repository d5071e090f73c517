"""Sets the formulas of a docstring in HTML: indices and powers in their places, and signs instead of words.

Docstrings hold formulas as one types them: `p_i = exp(z_i / T) / sum_j exp(z_j / T)`. What stands in backticks is code and
stays as it is, and so does a name of several letters (`lora_A`, `top_k`).
"""

import re

from markupsafe import Markup, escape

CODE = re.compile(r"`([^`\n]+)`")
# A letter, or a word that stands for a number, with an index: x_t, l_ij, x_{t-1}, abar_t, sum_j. Not min_p, top_k or lora_A.
WORDS = "sum|prod|max|argmax|softmax|log|mean|std|abar|alpha|beta|beta-tilde|sigma|snr|loss|expert|image|answer|logits|token"
INDEX = re.compile(
    rf"(?<![\w.])(?:(?P<letter>[A-Za-z])_(?P<two>[A-Za-z0-9]{{1,2}})|(?P<word>{WORDS})_(?P<one>[01bcijt])"
    rf"|(?P<of>[A-Za-z]|{WORDS})_\{{(?P<group>[^{{}}\n]+)\}})(?!\w|\.\w)"
)
AFTER = re.compile(r"(?<=\)|;)_(?P<one>[ijt])(?!\w)")  # of what ends in a bracket or an apostrophe: softmax(z)_j, f'_i
ROW = re.compile(r"(?<![\w.])(?P<of>[A-Za-z])_(?P<row>[ijt]\.|\.[ijt])(?=\))")  # a whole row or column: (l_i.), (l_.j)
POWER = re.compile(r"\^(?:\{(?P<group>[^{}\n]+)\}|\((?P<round>[^()\n]+)\)|(?P<one>-?\w+))")
SIGNS = (
    (re.compile(r"(?<![\w.])sum(?=<sub>)"), "∑"),
    (re.compile(r"(?<![\w.])prod(?=<sub>)"), "∏"),
    (re.compile(r"(?<![\w.])sqrt(?=\()"), "√"),
    (re.compile(r"&lt;="), "≤"),
    (re.compile(r"&gt;="), "≥"),
    (re.compile(r"!="), "≠"),
    (re.compile(r"(?<!\S)-&gt;(?!\S)"), "→"),
    (re.compile(r"(?<![\w+])\+-(?=\w)"), "±"),
    (re.compile(r"(?<![\w.])-inf\b"), "−∞"),
)


def typeset(text: str) -> Markup:
    """`text` as HTML, escaped; code in backticks becomes <code>."""
    parts = CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else Markup(_formulas(str(escape(part))))
        for number, part in enumerate(parts)
    )


def _formulas(html: str) -> str:
    html = ROW.sub(r"\g<of><sub>\g<row></sub>", html)
    html = INDEX.sub(_index, html)
    html = AFTER.sub(r"<sub>\g<one></sub>", html)
    html = POWER.sub(lambda match: f"<sup>{match['group'] or match['round'] or match['one']}</sup>", html)
    for pattern, sign in SIGNS:
        html = pattern.sub(sign, html)
    return html


def _index(match: re.Match[str]) -> str:
    of = match["letter"] or match["word"] or match["of"]
    return f"{of}<sub>{match['two'] or match['one'] or match['group']}</sub>"
