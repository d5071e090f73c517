"""The sentence that a learner reads when a case fails: what was expected, what came, and from where."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dojo.core.paths import find_checkout
from dojo.grading.grader import Grader
from dojo.grading.scoring import feedback
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission.intake import SubmittedFile
from dojo.testing import codec, probes
from dojo.testing.codec import HEADER, TOO_LARGE, Limits, Opaque, encode
from dojo.testing.codec_decode import decode
from dojo.testing.probes import Case, Draws, Pairs, Probe, Raised

CHECKOUT = find_checkout(Path(__file__).parent)
RIGHT = {"y": torch.zeros(3)}
ERROR_EXPECTED = {"raised": Raised("ValueError", True)}


def raised(name, note):
    return {"raised": Raised(name, name == "ValueError", note=note)}


@pytest.mark.parametrize(
    ("name", "note", "says"),
    [
        ("AttributeError", "module 'x' has no attribute 'f' (after f)", "there is no f in the file (the stub has it)"),
        ("AttributeError", "'Block' object has no attribute 'merge' (after Block.forward)", "Block has no merge (the stub has it)"),
        ("AttributeError", "type object 'Block' has no attribute 'of' (after Block)", "Block has no of (the stub has it)"),
        ("TypeError", "f() takes 1 positional argument but 2 were given (after f)", "it cannot be called as the stub can: f() takes 1 positional argument but 2 were given"),
        ("AttributeError", "'float' object has no attribute 'detach' (after f)", "the probe could not use what f returned: AttributeError: 'float' object has no attribute 'detach'"),
        ("TypeError", "'NoneType' object is not iterable (after f)", "the probe could not use what f returned: TypeError: 'NoneType' object is not iterable; NoneType: is a `return` missing?"),
        ("AttributeError", "'coroutine' object has no attribute 'y' (after f)", "the probe could not use what f returned: AttributeError: 'coroutine' object has no attribute 'y'; coroutine: write `def`, not `async def`"),
        ("TypeError", "object of type 'generator' has no len() (after f)", "the probe could not use what f returned: TypeError: object of type 'generator' has no len(); generator: `yield` makes a generator"),
        ("IndexError", "list index out of range (after f)", "the probe could not go on after f: IndexError: list index out of range"),
        ("AttributeError", "'NoneType' object has no attribute 'y' (line 7)", "it raised AttributeError: 'NoneType' object has no attribute 'y' (line 7)"),
        ("MemoryError", " (line 52)", "it ran out of memory (line 52)"),
        ("ValueError", " (line 3)", "it raised ValueError (line 3)"),
        ("ValueError", "", "it raised ValueError"),
        ("TooLarge", TOO_LARGE, "the result is too large to be sent"),
    ],
)  # fmt: skip
def test_an_exception_is_attributed_to_the_kata_or_the_probe(name, note, says):
    """The kata's exception has a line number; the probe's shows that a result could not be used."""
    assert feedback.explain(RIGHT, raised(name, note)) == says


def test_an_exception_of_the_probe_is_not_the_expected_one():
    """The function returned, and should have raised. How the probe then failed does not matter."""
    wrong = feedback.explain(ERROR_EXPECTED, raised("TypeError", "'NoneType' object is not iterable (after f)"))
    assert wrong == "it should have raised ValueError, and returned instead"
    wrong = feedback.explain(ERROR_EXPECTED, raised("KeyError", "'x' (line 4)"))
    assert wrong == "it should have raised ValueError, and raised KeyError: 'x' (line 4)"
    assert not feedback.explain(ERROR_EXPECTED, raised("ValueError", "no (line 9)"))
    assert "there is no f" in feedback.explain(
        ERROR_EXPECTED, raised("AttributeError", "module 'x' has no attribute 'f' (after f)")
    )


@pytest.mark.parametrize(
    ("text", "ends"),
    [("def f(x): raise KeyError", " (line 1)"), ("def f(x): pass", " (after f)"), ("g = 1", " (after f)")],
)
def test_a_note_says_where_it_was_raised(text, ends):
    """In a line of the kata, or in the probe after a call."""
    probe = Probe(lambda rng: iter(()), lambda kata, case: {"y": kata.f(1).item()})
    kata = probes.load_module("tiny", text, f"{probes.KATA_FILE}tiny>")
    assert probes.observe(probe, kata, Case("one", of="f"), 0)["raised"].note.endswith(ends)


@pytest.mark.parametrize(
    ("expected", "evidence", "says"),
    [
        ({"shape": [4000]}, {"shape": [4000, 1]}, "shape: expected [4000], got [4000, 1]"),
        ({"a": {"shape": [2, 3]}}, {"a": {"shape": [3, 2]}}, "a, shape: expected [2, 3], got [3, 2]"),
        ({"steps": [1]}, {"steps": [1, 2]}, "steps: expected 1 entry, got 2"),
        ({"floats": True}, {"floats": False}, "floats: expected a Python float, got another type"),
        ({"floats": [True, True]}, {"floats": [True, False]}, "floats[1]: expected a Python float, got another type"),
        ({"lean": True}, {"lean": False}, "lean: expected True, got False"),
        ({"y": torch.zeros(3)}, {"y": Opaque(TOO_LARGE)}, "y: the result is too large to be sent; expected a tensor of float32 [3]"),
        ({"y": 1}, {"y": Opaque("Thing")}, "y: expected int 1, got an object of class 'Thing'"),
    ],
)  # fmt: skip
def test_a_difference_is_described(expected, evidence, says):
    assert feedback.explain(expected, evidence) == says


def encode_and_decode(tree):
    raw = encode(tree)
    _, head, _ = HEADER.unpack(raw[: HEADER.size])
    return decode(raw[HEADER.size : HEADER.size + head], raw[HEADER.size + head :], Limits())


META, HUGE = torch.zeros(3, device="meta"), torch.zeros(1).expand(2**30)


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (META, "on the device meta"),
        (Draws(META.long(), 4), "on the device meta"),
        (Pairs(torch.zeros(3), META), "on the device meta"),
        (torch.eye(3).to_sparse(), "torch.sparse_coo"),
        (HUGE, "too large"),
        (Draws(HUGE, 4), "too large"),
        (Pairs(HUGE, HUGE), "too large"),
        (bytes(Limits.body + 1), "too large"),
        (torch.zeros(0, 2**21), "too large"),
        (torch.zeros([1] * 17), "too large"),
        ([0] * (Limits.nodes + 1), "too large"),
        (torch.complex32, "complex32"),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_a_value_that_cannot_be_sent_arrives_as_opaque(thing, says):
    """Its frame is not refused as an attack, and the values beside it arrive."""
    evidence = encode_and_decode({"nonce": "0", "seen": {"y": thing, "z": torch.ones(2)}})["seen"]
    assert isinstance(evidence["y"], Opaque)
    assert says in evidence["y"].kind
    assert torch.equal(evidence["z"], torch.ones(2))
    assert says in feedback.explain(RIGHT, evidence)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (0, 2), ()], ids=str)
def test_a_tensor_whose_strides_skip_elements_can_be_sent(size):
    """softmax(...)[..., 1] of one pair has the stride 2, and torch calls it contiguous, because it has one element."""
    y = torch.arange(16.0, dtype=torch.float64).as_strided(size, (8, 2)[2 - len(size) :], 1)
    evidence = encode_and_decode({"nonce": "0", "seen": {"y": y}})["seen"]
    assert evidence["y"].shape == y.shape
    assert torch.equal(evidence["y"], y)


def test_deep_nesting_can_be_sent():
    """Below the depth that the decoder accepts, an opaque value takes the place of the rest."""
    deep = 0
    for _ in range(60):
        deep = [deep]
    assert encode_and_decode(deep)


@pytest.mark.parametrize("tree", [[[0] * 1000] * 1000, ["x" * 4000] * 1100], ids=["things", "head"])
def test_too_much_evidence_is_refused_by_the_encoder(tree):
    with pytest.raises(codec.TooLarge, match="too large"):
        encode({"y": tree})


# With a grader


@pytest.fixture(scope="module")
def grader():
    if os.name == "nt":
        pytest.skip("submissions run in forked processes")
    with Grader(CHECKOUT, ["noise_schedules", "clip_loss"], Seed(b"a secret of this test"), jobs=1) as grader:
        yield grader


def graded(grader, kata, text):
    result = grader.grade_file(SubmittedFile(kata, text.encode(), "0" * 64, "ok"))
    return SimpleNamespace(result=result, reasons={case.id: case.reason for case in result.cases})


WRAPPED = "\n\n_inner = {0}\n\ndef {0}(*args, **options):\n    out = _inner(*args, **options)\n    return {1}\n"


def test_a_result_of_another_type_is_no_named_mistake(grader):
    """clip_loss returns a float: the probe raises what it also raises for some of the mistakes."""
    text = CHECKOUT.reference("clip_loss").read_text() + WRAPPED.format("clip_loss", "out.item()")
    failed = graded(grader, "clip_loss", text)
    assert failed.result.status == "fail"
    assert not failed.result.mistakes
    sentence = "what clip_loss returned: AttributeError: 'float' object"
    assert any(sentence in reason for reason in failed.reasons.values())


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ("out.new_zeros(1).expand(2**23)", "too large to be sent; expected"),
        ("out.to('meta')", "on the device meta"),
    ],
)
def test_a_result_that_cannot_be_sent_is_no_attack(grader, gives, says):
    text = CHECKOUT.reference("noise_schedules").read_text() + WRAPPED.format("snr", gives)
    failed = graded(grader, "noise_schedules", text)
    assert says in failed.reasons["snr few"], failed.reasons["snr few"]
    assert "pipe" not in failed.result.reason


def test_a_named_mistake_follows_a_full_stop(grader):
    from dojo.core.mistakes import load_mistakes

    mistake = load_mistakes(CHECKOUT.mistakes("clip_loss")).named[0]
    result = graded(grader, "clip_loss", mistake.apply(CHECKOUT.reference("clip_loss").read_text())).result
    assert f". It behaves like: {mistake.name}" in result.reason
