"""Every attack scores nothing, leaves nothing behind, and gets a reason; right answers of every kind score full.

Each attack runs in the sandbox even if the policy refuses it, for the policy is no security boundary. The tests also
check which attacks the policy refuses, and which it lets through in disguise. `tox -e attacks` shows which layer stops
which attack.
"""

import ast
import importlib
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

from dojo.grading.grader import Grader
from dojo.grading.reports import FORMATS, read_context, render_formats
from dojo.grading.results import GradeReport
from dojo.grading.sandbox.cleanup import remove_tree
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission.intake import read_submission
from dojo.tests.grading.attacks import suite

ATTACKS = suite.load_attacks()
TOGETHER = 2


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Where the grader makes its folders. Another user must be able to enter it."""
    tmp_path_factory.getbasetemp()  # so that pytest's own folder lies elsewhere
    folder = Path(tempfile.mkdtemp(prefix="kata-attacks-"))
    folder.chmod(0o711)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = before
    remove_tree(folder, seconds=60)


@pytest.fixture(scope="module")
def grader(scratch):
    with Grader(
        suite.checkout(),
        suite.KATAS,
        Seed(b"an attack may be lucky once in a thousand seeds; this one is fixed"),
        jobs=TOGETHER,
        name_mistakes=False,
    ) as grader:
        yield grader


@pytest.fixture(scope="module")
def outcomes(request, grader, tmp_path_factory):
    """The outcomes of all attacks whose tests are selected; they run once, together."""
    selected = {
        item.callspec.params["attack"].id: item for item in request.session.items if "attack" in _parameters(item)
    }
    attacks = [attack for attack in ATTACKS if attack.id in selected and not needs_another_user(attack)]
    folder = tmp_path_factory.mktemp("submissions")
    by_id = dict(zip([a.id for a in attacks], suite.run_attacks(grader, attacks, folder, TOGETHER), strict=True))
    yield by_id
    remove_tree(folder, seconds=60)


def _parameters(item):
    return getattr(getattr(item, "callspec", None), "params", {})


def needs_another_user(attack):
    return attack.needs and attack.needs != ("root" if os.geteuid() == 0 else "user")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_gains_nothing_and_gets_a_reason(attack, outcomes, grader):
    """No points, nothing reached, no process and no file left, a reason; and every format can be written."""
    if needs_another_user(attack):
        pytest.skip(f"can only be tried as {attack.needs}")
    outcome = outcomes[attack.id]
    assert outcome.gained == "", (outcome.gained, outcome.survivors, outcome.planted)
    assert (outcome.result.status, outcome.result.points) == (attack.status, 0), outcome.result.reason
    assert attack.reason in outcome.reasons, outcome.reasons[:1000]
    assert not any(case.passed for case in outcome.result.cases)
    assert attack.policy in outcome.refused if attack.policy else outcome.refused == "", outcome.refused
    report = GradeReport("submission", grader.selftest.level, {}, "", "", "", (outcome.result,))
    assert all(render_formats(report, [name], read_context({})) for name in FORMATS)


def test_every_section_is_there():
    """At least eighty attacks, and some of every kind that we know of."""
    assert len(ATTACKS) >= 80
    assert {attack.section for attack in ATTACKS} == set(suite.SECTIONS)
    assert all(attack.tries and attack.reason for attack in ATTACKS)


def named_modules(tree):
    """The modules of the trainer that an attack takes from sys.modules, with the names that it gives them."""

    def module(node):
        key = node.slice if isinstance(node, ast.Subscript) else None
        return key.value if isinstance(key, ast.Constant) and str(key.value).startswith("dojo") else None

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            pairs = zip(target.elts, value.elts, strict=True) if isinstance(target, ast.Tuple) else [(target, value)]
            yield from ((ast.unparse(name), module(item)) for name, item in pairs if module(item))
        if module(node):
            yield ast.unparse(node), module(node)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if "dojo" in a.text], ids=lambda attack: attack.id)
def test_an_attack_aims_at_something_that_exists(attack):
    """The trainer's modules, their attributes and files may move; an attack that misses them would prove nothing."""
    tree = ast.parse(attack.text)
    modules = dict(named_modules(tree))
    for name in modules.values():
        importlib.import_module(name)
    for node in ast.walk(tree):
        name = modules.get(ast.unparse(node.value)) if isinstance(node, ast.Attribute) else None
        if name and node.attr != "note":  # which one attack leaves behind, to look for it later
            assert hasattr(sys.modules[name], node.attr), f"{name} has no {node.attr}"
    for path in re.findall(r"\bdojo/[\w/]+\.py\b", attack.text):
        assert (suite.checkout().root / path).is_file()


CONTROLS = {
    "as it is": ("", ""),
    "with prints": ("print('hello')\n", "\n\nprint('there', flush=True)\n"),
    "with warnings": ("import warnings\nwarnings.warn('beware')\n", ""),
    "with logging": ("import logging\nlogging.basicConfig(level=0)\nlogging.error('no error')\n", ""),
    "with more threads": ("import torch as _torch\n_torch.set_num_threads(2)\n", ""),
    "with a state of its own": (
        "",
        "\n\n_calls = []\n_snr = snr\n\n\ndef snr(x):\n    _calls.append(x)\n    return _snr(x)\n",
    ),
    "in a thread of its own": (
        "from concurrent.futures import ThreadPoolExecutor\n",
        "\n\n_pool, _snr = ThreadPoolExecutor(2), snr\n\n\ndef snr(x):\n    return _pool.submit(_snr, x).result()\n",
    ),
    "slow": ("", "\n\n_snr = snr\n\n\ndef snr(x):\n    import time\n\n    time.sleep(0.5)\n    return _snr(x)\n"),
    "with a file in its folder": ("", "\n\nwith open('notes.txt', 'w') as _file:\n    _file.write('mine')\n"),
}


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("how", ["as usual", "with a mark and other line ends"])
def test_a_right_answer_scores_full(name, how, grader, tmp_path):
    """What honest people write beside their answer is no attack."""
    before, after = CONTROLS[name]
    text = before + grader.checkout.reference("noise_schedules").read_text(encoding="utf-8") + after
    raw = text.encode()
    if how != "as usual":
        if name not in ("as it is", "with prints"):
            pytest.skip("two are enough")
        raw = b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n")
    (tmp_path / "katas").mkdir()
    (tmp_path / "katas" / "noise_schedules.py").write_bytes(raw)
    submitted = read_submission(tmp_path, suite.KATAS, checkout=grader.checkout)
    assert grader.refusals([submitted["noise_schedules"]]) == [""]
    result = suite.grade(grader, "noise_schedules", submitted["noise_schedules"])
    assert (result.status, result.points) == ("pass", 10), result.reason


@pytest.mark.parametrize("kata", suite.KATAS)
def test_the_reference_scores_full_in_every_kata_that_is_attacked(kata, grader, tmp_path):
    """Otherwise it would prove nothing that an attack scores nothing."""
    (tmp_path / f"{kata}.py").write_bytes(grader.checkout.reference(kata).read_bytes())
    submitted = read_submission(tmp_path, [kata], checkout=grader.checkout)[kata]
    assert suite.grade(grader, kata, submitted).status == "pass"


def test_nothing_is_left_of_the_grader_itself(outcomes, grader, scratch):
    """All folders of all workers are gone, and no process is left but the fork servers."""
    assert os.listdir(scratch) == []
    assert suite.remaining() == {}
    assert suite.planted() == ()
