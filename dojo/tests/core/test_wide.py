"""Lines of text whose characters take two columns."""

import pytest
from rich.cells import cell_len

from dojo.core.wide import CLOSING, OPENING, closed_up, fill

TEXT = "从 logits 出发，写出 DPO：回复的对数概率、损失、隐式奖励（implicit reward）。“为什么”需要参考模型？"


@pytest.mark.parametrize("width", range(12, 60))
def test_lines_fit_lose_nothing_and_break_where_chinese_breaks(width):
    """No line begins with what closes, none ends with what opens, and no Latin word is torn."""
    lines = fill(TEXT, width).split("\n")
    assert max(map(cell_len, lines)) <= max(width, cell_len("（implicit"))
    assert "".join(lines).replace(" ", "") == TEXT.replace(" ", "")
    assert not any(line[0] in CLOSING or line[-1] in OPENING for line in lines)
    assert all(any(word in line for line in lines) for word in ("logits", "DPO", "implicit", "reward"))


def test_text_without_wide_characters_is_left_to_others():
    """And line breaks that are there stay."""
    assert fill("one two three", 5) == "one two three"
    assert fill("一二\n三", 40) == "一二\n三"


def test_further_lines_begin_where_they_are_told():
    """Behind an indent."""
    assert fill("一二三四", 4, further="  ") == "一二\n  三\n  四"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ("一步之后的损失 应为 3", "一步之后的损失应为 3"),
        ("loss 应为 [1, 2] ，实际是 None", "loss 应为 [1, 2]，实际是 None"),
        ("f(x)（x 为 2） 应为 a b", "f(x)（x 为 2）应为 a b"),
        ("the loss at 3", "the loss at 3"),
    ],
)
def test_parts_that_were_put_together_have_no_needless_blanks(parts, text):
    """Between wide characters, and before what closes; those beside Latin letters stay."""
    assert closed_up(parts) == text
