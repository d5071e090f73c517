"""Collecting evidence with a probe, and comparing evidence."""

import math
from types import SimpleNamespace

import pytest
import torch

from dojo.core.errors import UserError
from dojo.testing.probes import (
    KATA_FILE,
    Case,
    Draws,
    Probe,
    Raised,
    cases,
    gather,
    load_module,
    load_probe,
    not_started,
    same,
)

NAN, INF = math.nan, math.inf


def t(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def draws(*values, categories=4):
    return Draws(torch.tensor(values), categories)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (t(1, 2), t(1, 2 + 1e-12)),
        (t(1, 2, dtype=torch.float16), t(1, 2.002, dtype=torch.float16)),
        (t(1, 2, dtype=torch.bfloat16), t(1, 2.02, dtype=torch.bfloat16)),
        (t(1, NAN, INF, -INF), t(1, NAN, INF, -INF)),
        (t(1, 2).requires_grad_(), t(1, 2)),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
        (t(1 + 1j, dtype=torch.complex128), t(1 + 1j + 1e-12, dtype=torch.complex128)),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        (1.0, 1.0 + 1e-12),
        (NAN, NAN),
        (INF, INF),
        ("text", "text"),
        (None, None),
        ([1, (2.0, t(3))], (1, [2.0, t(3)])),
        ({"a": 1, "b": t(2)}, {"a": 1, "b": t(2)}),
        (torch.Size([1, 2]), [1, 2]),
        (Raised("ValueError", True), Raised("ValueError", True)),
    ],
    ids=str,
)
def test_evidence_that_agrees(a, b):
    """Rounding and the class of a container make no difference; NaN agrees with NaN."""
    assert same(a, b)
    assert same(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (t(1, 2), t(1, 2.001)),
        (t(1, 2), t(2, 1)),
        (t(1, 2), t(1, 2).float()),
        (t(1, 2), t(1, 2)[None]),
        (t(1, 2), t(1, NAN)),
        (t(INF), t(-INF)),
        (t(0, 0), t(0, 1e-7)),
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (torch.tensor([True]), torch.tensor([1])),
        (torch.tensor([1 + 1j]), torch.tensor([1 + 1j]).conj()),
        (1.0, 1.001),
        (1.0, NAN),
        (INF, -INF),
        (1, 1.0),
        (1, True),
        (t(1), 1.0),
        (None, 0),
        ([1, 2], [1]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        (Raised("ValueError", True), Raised("ValueError", False)),
        (Raised("ValueError", True), Raised("TypeError", False)),
        (Raised("ValueError", True), t(1)),
    ],
    ids=str,
)
def test_evidence_that_differs(a, b):
    """In values, dtypes, shapes or kinds."""
    assert not same(a, b)
    assert not same(b, a)


def sampled(probs, n, seed):
    generator = torch.Generator().manual_seed(seed)
    return Draws(torch.multinomial(t(*probs), n, replacement=True, generator=generator), len(probs))


def test_draws_are_compared_in_distribution():
    """Two right samplers draw different tokens."""
    probs = (0.5, 0.3, 0.2, 0.0)
    assert same(sampled(probs, 4000, 1), sampled(probs, 4000, 2))
    assert not same(sampled(probs, 4000, 1), sampled(probs, 1000, 2)), "fewer draws would agree too easily"
    assert not same(sampled(probs, 4000, 1), sampled((0.4, 0.4, 0.2, 0.0), 4000, 2))
    assert not same(sampled(probs, 4000, 1), sampled((0.3, 0.2, 0.5, 0.0), 4000, 2))


def test_equal_distributions_rarely_differ():
    """Of 500 pairs of right samplers, one false alarm has a probability below 1e-3."""
    probs = (0.6, 0.3, 0.09, 0.005, 0.005)
    assert all(same(sampled(probs, 2000, 2 * seed), sampled(probs, 2000, 2 * seed + 1)) for seed in range(500))


def test_a_token_that_one_side_never_draws_is_a_difference():
    """If the other side draws it a hundred times; once may be chance."""
    assert same(draws(*[0] * 4000), draws(*[0] * 3999, 1))
    assert not same(draws(*[0] * 4000), draws(*[0] * 3900, *[1] * 100))


def test_draws_out_of_range_are_a_difference():
    """Two equal results out of range agree, and no terabyte of counters is allocated."""
    wild = draws(0, 1, 10**12)
    assert not same(wild, draws(0, 1, 2))
    assert not same(draws(0, 1, 2), wild)
    assert same(wild, draws(0, 1, 10**12))
    assert not same(wild, draws(0, 1, -1))
    assert not same(draws(0, 1, 2, categories=3), draws(0, 1, 2, categories=4))


def test_draws_that_are_no_integers_are_a_difference():
    """Probabilities instead of tokens, for example."""
    assert not same(Draws(torch.rand(5), 4), draws(0, 1, 2))
    assert not same(Draws(torch.tensor([True, False]), 4), draws(0, 1))


def test_no_draws_are_not_many_draws():
    """An empty result differs from any sample."""
    empty = Draws(torch.zeros(0, dtype=torch.int64), 4)
    assert same(empty, empty)
    assert not same(empty, draws(0, 1))


# Collecting


def probe_of(run, *names, of="f"):
    return Probe(lambda rng: iter([Case(name, of=of, x=torch.rand(2, generator=rng)) for name in names]), run)


def test_evidence_is_gathered_case_by_case():
    """By the names of the cases; the seed determines the inputs."""
    probe = probe_of(lambda kata, case: {"y": kata.f(case.x)}, "one", "two")
    kata = SimpleNamespace(f=lambda x: x * 2)
    evidence = gather(probe, kata, seed=3)
    assert list(evidence) == ["one", "two"]
    assert same(evidence, gather(probe, kata, seed=3))
    assert not same(evidence, gather(probe, kata, seed=4))


def test_every_case_has_the_same_global_random_stream():
    """So a layer's initial weights do not depend on the cases before."""
    probe = probe_of(lambda kata, case: {"y": torch.rand(2)}, "one", "two")
    evidence = gather(probe, None, seed=0)
    assert same(evidence["one"], evidence["two"])


def test_a_case_begins_with_gradients_enabled():
    """Also after a case that has left them off: a mistake's evidence must not depend on the mistake before it."""
    probe = Probe(lambda rng: (Case(str(i), of="f") for i in range(2)), lambda kata, case: {"on": kata()})

    def leaves_them_off():
        on = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        return on

    assert gather(probe, leaves_them_off, 0) == {"0": {"on": True}, "1": {"on": True}}
    assert torch.is_grad_enabled()


def test_evidence_is_a_copy():
    """A kata that modifies its output later does not change the evidence."""
    output = torch.zeros(2)
    evidence = gather(probe_of(lambda kata, case: {"y": [output]}, "one"), None, seed=0)
    output.add_(1)
    assert evidence["one"]["y"][0].tolist() == [0, 0]


def failing(error):
    def run(kata, case):
        raise error

    return gather(probe_of(run, "one"), SimpleNamespace(__file__=__file__), seed=0)["one"]


def test_an_exception_is_evidence():
    """By the name of its class, and by whether it is a ValueError, which a name cannot fake."""
    assert failing(KeyError("x")) == {"raised": Raised("KeyError", False)}
    assert failing(UnicodeError("x")) == {"raised": Raised("UnicodeError", True)}
    assert failing(type("ValueError", (Exception,), {})()) == {"raised": Raised("ValueError", False)}
    assert failing(SystemExit(0)) == {"raised": Raised("SystemExit", False)}


def test_ctrl_c_is_no_evidence():
    """KeyboardInterrupt is passed on."""
    with pytest.raises(KeyboardInterrupt):
        failing(KeyboardInterrupt())


def test_a_stub_has_not_started():
    """Its NotImplementedError is marked."""
    assert not_started(failing(NotImplementedError("write me")))
    assert not not_started(failing(ValueError()))
    assert not not_started({"y": 1})


@pytest.mark.parametrize(
    ("body", "unwritten"), [("pass", False), ("def forward(self):\n        raise NotImplementedError", True)]
)
def test_a_module_without_forward_has_started(body, unwritten):
    """torch raises the stub's class for it, in a file of its own."""
    source = f"import torch\n\n\nclass Layer(torch.nn.Module):\n    {body}\n"
    layer = load_module("tiny", source, f"{KATA_FILE}tiny>")
    evidence = gather(probe_of(lambda kata, case: {"y": kata.Layer()()}, "one"), layer, seed=0)["one"]
    assert evidence["raised"].name == "NotImplementedError"
    assert not_started(evidence) is unwritten


def test_an_operator_that_torch_lacks_has_started():
    """An operator without a kernel for the dtype raises the stub's class."""
    probe = probe_of(lambda kata, case: {"y": torch.softmax(torch.tensor([1]), 0)}, "one")
    evidence = gather(probe, None, seed=0)["one"]
    assert evidence["raised"].name == "NotImplementedError"
    assert not not_started(evidence)


def test_two_cases_of_one_name_are_a_user_error():
    """One would hide the other."""
    with pytest.raises(UserError, match="both called 'one'"):
        cases(probe_of(None, "one", "two", "one"), seed=0)


# Probe files


def test_a_probe_file_needs_its_two_functions(tmp_path):
    """The error names the missing one."""
    file = tmp_path / "tiny.py"
    file.write_text("def cases(rng):\n    return []\n")
    with pytest.raises(UserError, match=r"tiny\.py has no function run\(\)"):
        load_probe(file)
    file.write_text("def cases(rng):\n    return []\n\n\ndef run(kata, case):\n    return {}\n")
    assert gather(load_probe(file), None, seed=0) == {}


def test_a_probe_may_define_dataclasses(tmp_path):
    """@dataclass looks up the module of its class by name."""
    file = tmp_path / "tiny.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Input:\n    x: int\n\n\n"
        "def cases(rng):\n    return []\n\n\ndef run(kata, case):\n    return {}\n"
    )
    load_probe(file)


def test_any_class_of_value_error_keeps_the_promise_of_one():
    """As in the tests, where pytest.raises(ValueError) accepts it; libraries have classes of their own."""
    assert same(Raised("ValueError", True), Raised("InvalidParameterError", True))
    assert not same(Raised("ValueError", True), Raised("ValueError", False))
    assert not same(Raised("KeyError", False), Raised("IndexError", False))
    assert not same(Raised("ValueError", True), Raised("NotImplementedError", True, not_started=True))
