"""The policy: right answers get no finding, and every finding about another file is a sentence that helps."""

import sys
from itertools import zip_longest
from textwrap import dedent

import pytest
from click.testing import CliRunner

from dojo.cli.main import main
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.grading.submission import policy, policy_worker
from dojo.grading.submission.intake import SubmittedFile, read_submitted_file
from dojo.grading.submission.policy import _Parser, read_forbidden, review
from dojo.tests.checkouts import REPOSITORY, SOLUTION, add_kata

REAL = Checkout(REPOSITORY)
READS = f"Python {sys.version_info.major}.{sys.version_info.minor}, which grades, cannot read this"


def findings_in(checkout, source, name="tiny"):
    """The policy's findings in `source`."""
    file = SubmittedFile(name, source.encode(), "", "ok")
    return review(checkout, [file])[name]


def refusals(checkout, source):
    return [finding.message for finding in findings_in(checkout, source + "\n" + SOLUTION) if finding.refuses]


def advice(checkout, source):
    findings = findings_in(checkout, source)
    assert not [finding for finding in findings if finding.refuses]
    return [finding.message for finding in findings]


def test_right_answers_get_no_finding():
    """Neither the references nor the alternatives; the one exception is advice on a parameter's name."""
    files = [
        [REAL.reference(name), *REAL.alternatives(name)] for name in sorted(p.stem for p in REAL.solutions.glob("*.py"))
    ]
    for turn in zip_longest(*files):
        present = [file for file in turn if file]
        names = [file.stem if file.parent == REAL.solutions else file.parent.parent.name for file in present]
        submitted = [read_submitted_file(file, name, checkout=REAL) for file, name in zip(present, names, strict=True)]
        assert [file for file in submitted if file.status != "ok"] == []
        for name, findings in review(REAL, submitted).items():
            assert [f.sentence(name) for f in findings if "calls its parameter" not in f.message] == []


HONEST = """
from __future__ import annotations
import abc, bisect, contextlib, copy, enum, functools, gc, hashlib, heapq, inspect, io, itertools, json, logging, math
import operator, os, os.path, pathlib, pickle, pprint, queue, random, re, secrets, shutil, statistics, string, struct
import sys, tempfile, threading, time, timeit, traceback, types, unittest, uuid, warnings, weakref, zipfile, zlib
import numpy as np, numpy.typing as npt, torch as t, scipy.special
import torch.nn.functional as F, torch.distributions as D
from collections import OrderedDict, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from jaxtyping import Float, jaxtyped
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader
from typing import TYPE_CHECKING
from typing_extensions import Self

if TYPE_CHECKING:
    from pytest import FixtureRequest

os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
sys.setrecursionlimit(3000)
this = sys.modules[__name__]
pattern = re.compile(r"\\d")
warnings.filterwarnings("ignore")


def exec(model):
    return model.eval()


def train(model, x, path, f):
    exec(model)
    print(sys.maxsize, sys.float_info.eps, f.__name__, f.__dict__, type(x).__mro__, f.__closure__, f.__defaults__)
    with open(path, "wb") as file, torch.autocast("cpu"):
        os.fsync(file.fileno())
    os.replace(path, path)
    gc.collect()
    if t.distributed.is_available() and t.distributed.is_initialized():
        t.distributed.barrier()
    return F.scaled_dot_product_attention(x, x, x) + getattr(t, "softmax")(x, -1) + t.ops.aten.relu(x)


if __name__ == "__main__":
    import subprocess
    import pytest

    subprocess.run(["true"])
    sys.exit(pytest.main())
else:
    import math as m
"""


def test_what_an_honest_answer_may_contain_is_accepted(checkout):
    """Files, threads, pickles, names that shadow built-ins, and code that does not run when it is graded."""
    assert refusals(checkout, HONEST) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("from solutions.tiny import double", "`solutions.tiny` may not be imported: it holds the answers."),
        (
            "import dojo.testing.probes",
            "`dojo.testing.probes` may not be imported: the tests and the trainer are not part",
        ),
        ("import pytest", "`pytest` may not be imported"),
        ("import conftest", "`conftest` may not be imported"),
        ("import tests.test_tiny as t", "`tests.test_tiny` may not be imported"),
        ("from katas.other import f", "`katas.other` may not be imported: each kata is graded alone"),
        ("from other import f", "`other` may not be imported: each kata is graded alone"),
        ("from .other import f", "`from .other import` cannot be: each kata is graded alone"),
        ("from . import other", "`from . import` cannot be"),
        ("import sklearn.metrics", "ask for your own implementation"),
        ("from transformers import GPT2Model", "ask for your own implementation"),
        ("import einops", "not among what is installed for grading. A kata may import torch, numpy, scipy"),
        ("import utils", "If it is a file of your own, each kata is graded alone: copy what it needs into this file."),
        ("import matplotlib.pyplot as plt", 'or import it under `if __name__ == "__main__":`.'),
        ("import subprocess as s", "`subprocess` may not be imported: an answer starts no other programs."),
        ("import socket", "there is no network"),
        ("from urllib.request import urlopen", "`urllib.request` may not be imported: there is no network"),
        ("import ctypes", "written in Python and torch"),
        ("import importlib.util", "loads no code from elsewhere"),
        ("import multiprocessing", "starts no other programs"),
        ("import atexit", "leaves the interpreter as it is"),
        ("import _posixsubprocess", "it is an inner part of Python"),
        ("def f():\n    import signal", "`signal` may not be imported"),
        ("from torch import hub", "`torch.hub` may not be imported: there is no network"),
        ("from torch.utils import cpp_extension", "`torch.utils.cpp_extension` may not be imported"),
        ("import torch\ntorch.hub.load('a', 'b')", "`torch.hub` is not for answers: there is no network"),
        ("import torch as t\nt.os.system('true')", "`torch.os` is not for answers"),
        ("from torch import library as l\nl.Library('aten', 'IMPL')", "`torch.library.Library` is not for answers"),
        ("import os\nos.system('true')", "`os.system` is not for answers: an answer starts no other programs."),
        ("from os import fork", "`os.fork` is not for answers"),
        ("import os\nos._exit(0)", "`os._exit` is not for answers"),
        ("import sys\nsys._getframe(1)", "`sys._getframe` is not for answers"),
        ("import sys\nsys.modules['dojo']", "`sys.modules` is not for answers"),
        ("import inspect\ninspect.currentframe().f_back", "`inspect.currentframe` is not for answers"),
        ("eval('1')", "`eval` is not for answers: write the expression itself."),
        ("run = exec", "`exec` is not for answers"),
        ("__import__('os')", "`__import__` is not for answers: use an import statement."),
        ("compile('1', '', 'eval')", "`compile` is not for answers"),
        ("import builtins\nbuiltins.eval('1')", "`builtins.eval` is not for answers"),
        ("print(__builtins__)", "`__builtins__` is not for answers"),
        ("().__class__.__base__.__subclasses__()", "`.__subclasses__` is not for answers"),
        ("print.__self__.f_back.f_locals", "`.f_back` is not for answers"),
        ("getattr(print, '__globals__')", "`__globals__` is not for answers"),
    ],
)
def test_what_an_answer_does_not_need_is_refused_with_the_reason(checkout, line, says):
    """The learner reads it in `kata check`, before anything is graded."""
    add_kata(checkout, "other")
    messages = refusals(checkout, line)
    assert any(says in message for message in messages), messages
    assert len(messages) == len(set(messages)) <= 2


@pytest.mark.parametrize(
    ("source", "line", "says", "excerpt"),
    [
        ("x = 1\ndef f(x)\n    pass\n", 2, f"{READS}: expected ':'.", "def f(x)\n        ^"),
        ("def f():\nreturn 1\n", 2, "expected an indented block", "return 1\n^"),
        ("x = (1,\n\n", 1, "'(' was never closed", "x = (1,\n    ^"),
        ("return 1\n", 1, "'return' outside function", "return 1\n^"),
        ("print 'x'\n", 1, "Missing parentheses in call to 'print'", "print 'x'\n^"),
        ("x = '\033[31m' y\n", 1, f"{READS}: invalid syntax", "x = ' [31m' y\n            ^"),
        ("async = 1\n", 1, "invalid syntax", "async = 1\n      ^"),
        ("if x:\n\tpass\n        pass\n", 3, "inconsistent use of tabs", None),
        ("x = 1e" + "\n", 1, "invalid decimal literal", None),
        ("x = " + "9" * 5000, 1, f"{READS}: Exceeds the limit", None),
    ],
)
def test_a_syntax_error_says_where(checkout, source, line, says, excerpt):
    """With line and caret, and without control characters from the submission."""
    (finding,) = findings_in(checkout, source)
    assert finding.refuses
    assert finding.line == line
    assert says in finding.message
    assert finding.message.endswith(".")
    assert excerpt in (None, finding.excerpt)


BOMBS = {
    "parentheses": "(" * 300,
    "lists": "x = " + "[" * 150 + "\n".join(["["] * 5000),
    "minus": "x = (\n" + ("-" * 390 + "\n") * 150 + "1)\n",
    "not": "x = (\n" + ("not " * 90 + "\n") * 150 + "1)\n",
    "sum": "x = (\n" + ("1+" * 190 + "\n") * 150 + "1)\n",
    "calls": "x = (f\n" + ("()" * 190 + "\n") * 150 + ")\n",
    "attributes": "x = (f\n" + (".a" * 190 + "\n") * 150 + ")\n",
    "elif": "if a: pass\n" + "elif a: pass\n" * 5000,
    "lambdas": "x = (\n" + ("lambda:" * 55 + "\n") * 150 + "1)\n",
    "powers": "x = (\n" + ("9**" * 130 + "\n") * 150 + "9)\n",
    "large product": "x = 'a' * 10**9 * 10**9\ny = (1,) * 10**10\nz = 1 << 10**10\n",
    "strings": "x = (\n" + ("'a'" * 130 + "\n") * 150 + ")\n",
    "nested f-strings": "x = f'{" + "(" * 190 + "}'\n",
    "decorators": "@f\n" * 20_000 + "def g(): pass\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_parser_bomb_gives_an_answer(checkout, name):
    """The parent survives, and has a sentence for the learner."""
    findings = findings_in(checkout, BOMBS[name])
    assert all(finding.message.endswith(".") for finding in findings)
    if name not in ("large product", "strings", "decorators"):
        assert any(finding.refuses for finding in findings)


def test_a_dead_parser_costs_only_the_file_at_fault(checkout, monkeypatch):
    """The parser breaks down on the second of three files; the third is read by a new one."""
    for name in ("second", "third"):
        add_kata(checkout, name)
    examine = _Parser.examine

    def break_down(self, request, timeout_s):
        if "boom" in request["source"]:
            self.process.kill()
            self.process.wait()
        return examine(self, request, timeout_s)

    monkeypatch.setattr(_Parser, "examine", break_down)
    sources = {"tiny": SOLUTION, "second": "boom = 1\n" + SOLUTION, "third": SOLUTION}
    findings = review(checkout, [SubmittedFile(name, source.encode(), "", "ok") for name, source in sources.items()])
    assert (findings["tiny"], findings["third"]) == ((), ())
    assert [finding.refuses for finding in findings["second"]] == [True]
    assert "breaks down while it reads this file" in findings["second"][0].message


def test_a_parser_that_was_killed_from_outside_is_started_again(checkout, monkeypatch):
    """When memory runs out, for example. The file is read by the next one."""
    examine, killed = _Parser.examine, []

    def kill_once(self, request, timeout_s):
        if not killed:
            killed.append(self.process.pid)
            self.process.kill()
            self.process.wait()
        return examine(self, request, timeout_s)

    monkeypatch.setattr(_Parser, "examine", kill_once)
    assert review(checkout, [SubmittedFile("tiny", SOLUTION.encode(), "", "ok")]) == {"tiny": ()}


SPINS = "def examine(request):\n    while True:\n        pass\n    yield\n"
WAITS = "def examine(request):\n    import time\n    time.sleep(600)\n    yield\n"


@pytest.mark.parametrize("examine", [SPINS, WAITS])
def test_a_parser_that_does_not_end_is_ended(checkout, monkeypatch, examine):
    """By the time that it computes, or, later, by the clock."""
    start = f"import sys; sys.path.append(sys.argv[1]); from {policy_worker.__name__} import *\n{examine}"
    start += f"import {policy_worker.__name__} as worker; worker._examine = examine; worker.main()"
    monkeypatch.setattr(policy, "START", start)
    if examine is SPINS:
        monkeypatch.setattr(policy, "WAIT_FACTOR", 1000)
    (finding,) = review(checkout, [SubmittedFile("tiny", SOLUTION.encode(), "", "ok")], timeout_s=0.1)["tiny"]
    assert finding.refuses
    assert "does not finish reading this file within 0.1 seconds" in finding.message


def test_a_parser_that_does_not_start_refuses_nothing(checkout, monkeypatch):
    """It is a fault of the machine, and no file is to blame."""
    monkeypatch.setattr(policy, "START", "raise SystemExit")
    with pytest.raises(UserError, match="did not start"):
        review(checkout, [SubmittedFile("tiny", SOLUTION.encode(), "", "ok")])


DOUBLE = "def double(x):\n    return 2 * x\n"
SHIFT = "def shift(x, by=3):\n    return x + by\n"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (DOUBLE, ["There is no function shift; whatever asks for it fails."]),
        ("async " + DOUBLE + SHIFT, ["double is an async function, and calling it gives a coroutine; write `def`."]),
        (DOUBLE.replace("return", "yield") + SHIFT, ["double contains `yield`, so calling it gives a generator; return the result."]),
        (DOUBLE + SHIFT.replace("=3", ""), ["shift gives by no default value, and the stub does."]),
        (DOUBLE + "def shift(x):\n    return x\n", ["shift has no parameter by."]),
        (DOUBLE + "def shift(by=3, x=0):\n    return x\n", ["shift takes x as parameter 2, and the stub as parameter 1.", "shift takes by as parameter 1, and the stub as parameter 2."]),
        (DOUBLE + "def shift(x, amount=3):\n    return x\n", ["shift calls its parameter amount where the stub says by: calls by name fail."]),
        (DOUBLE + "def shift(x, *, by=3):\n    return x\n", ["shift takes by by name only, and the stub by position too."]),
        (DOUBLE + "def shift(x, by=3, /):\n    return x\n", ["shift takes x by position only, and the stub by name too.", "shift takes by by position only, and the stub by name too."]),
        (DOUBLE + "def shift(x, by=3, *, more):\n    return x\n", ["shift has a parameter more more than the stub; give it a default value."]),
        (DOUBLE + "def shift(x, by=3):\n    raise NotImplementedError('tiny.shift: write me')\n", []),
        ("from math import *\n" + DOUBLE, ["`from math import *` may replace built-ins such as sum, min and max; import the names that you use."]),
        (DOUBLE + SHIFT + "name = input()\n", ["`input` waits for a keyboard that the grader does not have."]),
        ("import torch\n\n@torch.compile\n" + DOUBLE + SHIFT, []),
        (DOUBLE + SHIFT + "exit()\n", ["`exit` ends the program, and with it the grading of this kata."]),
    ],
)  # fmt: skip
def test_another_signature_gets_advice(checkout, source, says):
    """The file is not refused: only the cases show whether the difference matters."""
    messages = advice(checkout, source)
    if says:
        assert messages == says


@pytest.mark.parametrize(
    "source",
    [
        DOUBLE + "from functools import partial\nshift = partial(lambda x, by: x + by, by=3)\n",
        DOUBLE + "def shift(*args, **kwargs):\n    return sum(args) + kwargs.get('by', 0)\n",
        DOUBLE + "def shift(x, by=3, carry=0, *rest, check=True):\n    return x + by\n",
        "try:\n    from math import nothing\nexcept ImportError:\n    " + DOUBLE.replace("\n", "\n    ") + "\n" + SHIFT,
        "if True:\n    double, shift = (lambda x: 2 * x), (lambda x, by=3: x + by)\n",
        DOUBLE + SHIFT + "def helper(n):\n    yield n\n",
        "def double(x):\n    def inner():\n        yield x\n    return 2 * next(inner())\n" + SHIFT,
    ],
)
def test_other_ways_to_write_a_function_get_no_advice(checkout, source):
    """A name can be bound in many ways, and helper functions are free."""
    assert advice(checkout, source) == []


def test_a_function_that_is_still_as_in_the_stub_is_named(checkout):
    """A half-finished file says what is missing."""
    stub = checkout.stub("tiny").read_text()
    half = stub.replace('raise NotImplementedError("tiny.double: write me")', "return 2 * x")
    assert advice(checkout, half) == ["shift is still as in the stub."]


CLASSY = dedent('''\
    """Classy."""


    class Layer:
        """Adds."""

        def __init__(self, by: int) -> None:
            # kata: begin
            self.by = by
            # kata: end

        def forward(self, x: int) -> int:
            # kata: begin
            return x + self.by
            # kata: end


    def given(x):
        return x


    def numbers(n: int):
        """0 ... n - 1."""
        # kata: begin
        yield from range(n)
        # kata: end
    ''')


def test_classes_are_compared_method_by_method(checkout):
    """Advice on a missing method, unless a base class may bring it; none on code that the stub gives in full."""
    add_kata(checkout, "classy", solution=CLASSY)
    given = "def given(x):\n    return x\n\n\n"
    messages = [
        f.message
        for f in findings_in(checkout, CLASSY.replace("def forward", "def foward").replace(given, ""), "classy")
    ]
    assert messages == ["The class Layer has no method forward."]
    renamed = CLASSY.replace("by: int", "amount: int")
    assert [f.message for f in findings_in(checkout, renamed, "classy")] == [
        "Layer.__init__ calls its parameter amount where the stub says by: calls by name fail."
    ]
    inherits = CLASSY.replace("class Layer:", "class Layer(Base):").replace("def forward", "def foward")
    assert (
        findings_in(checkout, "class Base:\n    def forward(self, x):\n        return x\n\n\n" + inherits, "classy")
        == ()
    )


def test_a_katas_own_rules_come_from_its_probe(checkout):
    """FORBIDDEN in the probe: bare names are torch's operators, dotted ones modules and functions."""
    probe = checkout.probe("tiny")
    rules = 'FORBIDDEN = ("scaled_dot_product_attention", "torch.optim.lr_scheduler", "math.erf")\n'
    probe.write_text(probe.read_text() + rules)
    assert read_forbidden(probe) == ("scaled_dot_product_attention", "torch.optim.lr_scheduler", "math.erf")
    for line in (
        "import torch.nn.functional as F\nF.scaled_dot_product_attention(1, 2, 3)",
        "from torch.nn.functional import scaled_dot_product_attention as a",
        "import torch\ntorch.ops.aten.scaled_dot_product_attention.default(1, 2, 3)",
        "import torch\ngetattr(torch, 'scaled_dot_product_attention')(1, 2, 3)",
        "from torch.optim import lr_scheduler",
        "from torch.optim.lr_scheduler import StepLR",
        "import torch\ntorch.optim.lr_scheduler.StepLR",
        "import math as m\nm.erf(1)",
    ):
        (message,) = refusals(checkout, line)
        assert message.startswith("This kata's rules forbid ")
    own = "class A:\n    def scaled_dot_product_attention(self, q):\n        return self.scaled_dot_product_attention(q)\n"
    assert refusals(checkout, own + "import math\nmath.erfc(1)") == []
    probe.write_text("FORBIDDEN = (name,)\n")
    with pytest.raises(UserError, match="line 1: FORBIDDEN must be a tuple of names"):
        read_forbidden(probe)


def kata(*arguments):
    return CliRunner().invoke(main, arguments)


def test_check_says_that_nothing_would_be_refused(checkout):
    """Advice alone refuses nothing."""
    checkout.stub("tiny").write_text(SOLUTION)
    done = kata("check", "katas/tiny.py")
    assert (done.exit_code, done.output) == (0, "Nothing here would be refused.\n")
    checkout.stub("tiny").write_text(DOUBLE)
    done = kata("check", "katas/tiny.py")
    assert done.exit_code == 0
    assert done.output == (
        "katas/tiny.py:1:1: advice: There is no function shift; whatever asks for it fails.\nNothing here would be refused.\n"
    )


def test_check_says_what_would_be_refused(checkout):
    """Where, why, and how the line goes; exit code 1."""
    checkout.stub("tiny").write_text("import subprocess\n" + SOLUTION)
    done = kata("check", "katas/tiny.py")
    assert done.exit_code == 1
    assert done.output == (
        "katas/tiny.py:1:1: `subprocess` may not be imported: an answer starts no other programs.\n"
        "One thing here would be refused: mend it, and check again.\n"
    )
    checkout.stub("tiny").write_text("def double(x)\n    return 2 * x\n")
    assert kata("check", "katas/tiny.py").output.startswith(
        f"katas/tiny.py:1:14: {READS}: expected ':'.\n    def double(x)\n                 ^\n"
    )
    checkout.stub("tiny").write_bytes(b"\0")
    done = kata("check", "katas/tiny.py")
    assert done.exit_code == 1
    assert "katas/tiny.py holds a null byte in line 1" in done.output


def test_check_of_a_stub_or_of_nothing(checkout):
    """The stub is no attempt, and refused for nothing; a file of no kata is a problem."""
    done = kata("check", "katas/tiny.py")
    assert (done.exit_code, done.output) == (
        0,
        "katas/tiny.py is still the stub.\n"
        "Nothing here would be refused, but it is still the stub: it would get no points.\n",
    )
    add_kata(checkout, "other", solution=SOLUTION)
    checkout.stub("other").write_text(SOLUTION)
    assert kata("check", "katas/tiny.py", "katas/other.py").output.endswith(
        "Nothing here would be refused, but 1 of 2 files is still the stub: it would get no points.\n"
    )
    assert kata("check", "katas/nothing.py").exit_code == 2
    checkout.stub("tiny").unlink()
    done = kata("check", "katas/tiny.py")
    assert done.exit_code == 2
    assert "There is no file katas/tiny.py." in done.output


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("katas", "katas is a folder; give files of it: kata check katas/*.py"),
        ("work.zip", "work.zip is an archive: unpack it"),
        ("tiny.ipynb", "tiny.ipynb is a notebook: export it as tiny.py."),
        ("nothing.zip", "There is no file nothing.zip."),
        ("homework.py", "There is no kata called 'homework'."),
    ],
)
def test_check_of_what_is_no_kata(checkout, name, says):
    """The sentence says what it is, and what to give instead."""
    if name not in ("katas", "nothing.zip"):
        (checkout.root / name).touch()
    done = kata("check", name)
    assert done.exit_code == 2
    assert says in done.output
