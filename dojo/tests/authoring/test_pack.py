"""Packs: katas of one's own, begun, exported without their answers, graded with them; and workspaces for them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from dojo.authoring import pack
from dojo.authoring.verify import pages
from dojo.authoring.verify.report import ProofReport
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.engine.preload import preload
from dojo.practice.workspace import init
from dojo.progress.sessions import SessionLog
from dojo.tests.checkouts import SOLUTION, add_kata, pytest_in, solve
from dojo.tests.cli.commands import kata

PLUGIN = "-pdojo.engine.plugin"  # what an installed trainer registers; sessions in tests load no entry points


@pytest.fixture(autouse=True)
def _no_pack(monkeypatch):
    monkeypatch.setenv("KATA_PACK", "")  # so that what a command sets is taken back
    for variable in ("KATAS_DIR", "KATA_WORKSPACE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Checkout:
    """A pack with the kata `tiny`; the current folder is another one."""
    pack.begin(tmp_path / "mine")
    checkout = Checkout((tmp_path / "mine").resolve())
    checkout.catalog.write_text(checkout.catalog.read_text().replace('"katas"', '"numbers"'))
    listed = checkout.catalog.read_text()
    add_kata(checkout)
    checkout.catalog.write_text(listed.replace("katas = [\n", 'katas = [\n    "tiny",\n'))
    shutil.rmtree(checkout.answers)
    monkeypatch.chdir(tmp_path)
    return checkout


def test_a_pack_is_begun_and_gets_a_kata(tmp_path, monkeypatch):
    """`kata new --pack DIR` first, then a kata in it, whose reference passes."""
    monkeypatch.chdir(tmp_path)
    assert "The pack is there." in kata("new", "--pack", "mine").output
    assert "has no katas yet" in kata("--pack", "mine", "list").stderr
    assert "wrote solutions/gelu.py" in kata("--pack", "mine", "new", "gelu").output
    assert "kata show gelu" in kata("--pack", "mine", "list").output
    checkout = Checkout((tmp_path / "mine").resolve())
    assert set(pytest_in(checkout, "--katas=solutions", PLUGIN, KATA_PACK="").verdicts().values()) == {"passed"}
    assert set(pytest_in(checkout, PLUGIN, KATA_PACK="").verdicts().values()) == {"not started"}
    assert kata("new", "--pack", "mine", "gelu").exit_code == 2  # it is there already


def test_a_new_pack_needs_an_empty_folder(tmp_path):
    """What somebody has is not mixed with it."""
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="is not empty"):
        pack.begin(tmp_path)


@pytest.mark.parametrize("how", ["option", "variable", "folder", "settings"])
def test_every_way_to_name_a_pack(mine, tmp_path, monkeypatch, how):
    """An option, a variable, the folder one is in, a line in a settings file."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(mine.root if how == "folder" else work)
    if how == "settings":
        (work / "katas.toml").write_text('pack = "../mine"\n')
    if how == "variable":
        monkeypatch.setenv("KATA_PACK", str(mine.root))
    result = kata(*(["--pack", "../mine"] if how == "option" else []), "list")
    assert "kata show tiny" in result.output
    assert (work if how == "settings" else mine.root).joinpath("answers", "tiny.py").is_file()


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda root: shutil.rmtree(root), "There is no folder"),
        (lambda root: (root / "katas" / "catalog.toml").unlink(), "is no pack: it has no katas/catalog.toml"),
        (lambda root: (root / "katas" / "catalog.toml").write_text("katas = ["), "is not valid TOML"),
        (lambda root: shutil.rmtree(root / "tests" / "tiny"), "there is no tests/tiny/kata.toml"),
        (lambda root: needs(root, '"99.1"'), "needs version 99.1 of the trainer, and this is"),
        (lambda root: needs(root, "true"), "`needs` should be a version"),
        (lambda root: needs(root, '"0.1"\nname = 3'), "`name` should be the name of the pack"),
    ],
    ids=["no folder", "no catalogue", "no TOML", "no kata", "newer", "no version", "no name"],
)
def test_a_broken_pack_is_a_sentence(mine, break_it, says):
    """Which file, and what to do."""
    break_it(mine.root)
    result = kata("--pack", str(mine.root), "list")
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def needs(root: Path, version: str) -> None:
    file = root / "katas" / "catalog.toml"
    lines = file.read_text().splitlines()
    changed = [f"needs = {version}" if line.startswith("needs") else line for line in lines]
    file.write_text("\n".join(line for line in changed if "name = 3" not in version or not line.startswith('name = "')))


def test_a_pack_has_no_pages_to_write(mine):
    """`kata dev verify --write` writes there what a run needs to name mistakes, and nothing else."""
    preload()
    reports = [ProofReport("tiny")]
    assert pages.write(mine, load_catalog(mine), reports) == [mine.differences("tiny")]
    assert pages.write(mine, load_catalog(mine), reports) == []


def test_a_copy_to_hand_out_holds_no_answers(mine, tmp_path):
    """Stubs and tests, and of the rest nothing; what needs it says so."""
    mine.mistakes("tiny").with_name("peers").mkdir()
    for name in ("kata", "stub", "mistakes"):
        (mine.tests("tiny") / f"{name}.zh.toml").write_text("text = []")
    result = kata("--pack", str(mine.root), "dev", "export", "out")
    assert "out holds 1 of 1 katas" in result.output
    os.environ["KATA_PACK"] = ""
    copy = Checkout((tmp_path / "out").resolve())
    assert sorted(path.name for path in copy.tests("tiny").iterdir()) == [
        "kata.toml",
        "kata.zh.toml",
        "stub.zh.toml",
        "test_1_core.py",
        "test_2_edges.py",
    ]
    assert not copy.solutions.exists()
    assert "return x * 2" not in "".join(file.read_text() for file in copy.root.rglob("*.py"))
    os.chdir(copy.root)
    for command in (["show", "tiny"], ["hint", "tiny"], ["reset", "tiny"], ["list"]):
        assert kata(*command).exit_code == 0
    for command in (
        ["solution", "tiny", "--give-up"],
        ["dev", "verify"],
        ["dev", "render"],
        ["dev", "export", "again"],
    ):
        result = kata(*command)
        assert result.exit_code == 2, command
        assert "handed out without solutions" in result.stderr


def test_a_run_of_a_copy_says_that_it_cannot_name_a_mistake(mine, tmp_path):
    """The test's own sentence and hint stay."""
    pack.export(mine, load_catalog(mine), tmp_path / "out")
    copy = Checkout((tmp_path / "out").resolve())
    copy.answers.mkdir()
    copy.answer("tiny").write_text(SOLUTION.replace("x * 2", "x * x"))
    session = pytest_in(copy, PLUGIN, KATA_PACK="")
    assert "handed out without their known mistakes" in session.output
    assert "exactly what you get when" not in session.output
    assert "hint: add x to itself" in session.output


def test_what_tests_share_with_a_solution_is_told(mine, tmp_path):
    """A long line that stands in both is not for handing out."""
    secret = "    total = sum(range(1000)) + sum(range(2000)) + x\n"
    reference = SOLUTION.replace("    return x * 2\n", f"{secret}    return x * 2\n")
    mine.reference("tiny").write_text(reference)
    (mine.tests("tiny") / "helpers.py").write_text(f"def f(x):\n{secret}")
    result = kata("--pack", str(mine.root), "dev", "export", "out")
    assert f"tests/tiny/helpers.py: {secret.strip()}" in result.output


def test_what_comes_back_is_graded_by_the_whole_pack(mine, tmp_path):
    """The submission is the handed-out folder, with answers/ in it."""
    pack.export(mine, load_catalog(mine), tmp_path / "out")
    copy = Checkout((tmp_path / "out").resolve())
    copy.answers.mkdir()
    solve_source = mine.reference("tiny").read_text()
    copy.answer("tiny").write_text(solve_source)
    result = kata("--pack", str(mine.root), "grade", "out", "--out", "grade")
    assert result.exit_code == 0, result.output + result.stderr
    report = json.loads((tmp_path / "grade" / "report.json").read_text())
    assert f"those of the pack {mine.root}" in result.stderr
    assert (report["score"], [kata["status"] for kata in report["katas"]]) == (10.0, ["pass"])
    refused = kata("--pack", "out", "grade", "out", "--out", "other")
    assert refused.exit_code == 2
    assert "handed out without solutions" in refused.stderr


def test_a_workspace_of_a_pack(mine, tmp_path):
    """Answers and history are the workspace's; the pack is left as it is."""
    before = sorted(mine.root.rglob("*"))
    checkout, _ = init(tmp_path / "work", str(mine.root))
    assert checkout == Checkout(mine.root, (tmp_path / "work").resolve()) == find_checkout(tmp_path / "work")
    solve(checkout)
    session = pytest_in(Checkout(checkout.work), "tests/tiny/test_1_core.py", PLUGIN, KATA_PACK="")
    assert set(session.verdicts().values()) == {"passed"}
    assert "katas: answers/ (yours)" in session.output
    assert (checkout.work / ".dojo" / "history.sqlite").is_file()
    drill = SessionLog(checkout).begin_drill(load_catalog(checkout)["tiny"], 5)
    assert drill.folder.is_relative_to(checkout.work)
    assert SessionLog(checkout).sessions()[-1].folder == drill.folder
    assert [path for path in sorted(mine.root.rglob("*")) if "__pycache__" not in path.parts] == before


def test_two_packs_with_one_name_do_not_share_a_workspace(mine, tmp_path):
    """Nor do packs with two names. A pack that was moved is the same pack."""
    work = tmp_path / "work"
    init(work, str(mine.root))
    other = Checkout((tmp_path / "other").resolve())
    shutil.copytree(mine.root, other.root)
    (work / "katas.toml").write_text('pack = "../other"\n')
    os.chdir(work)
    assert "Two packs are called mine" in kata("list").stderr
    other.catalog.write_text(other.catalog.read_text().replace('name = "mine"', 'name = "other"'))
    assert "belong to the pack mine, not to other" in kata("list").stderr
    shutil.rmtree(other.root)
    shutil.move(mine.root, other.root)
    assert kata("list").exit_code == 0
    for damaged in ("{", "[]", "3"):
        (work / ".dojo" / "pack.json").write_text(damaged)
        assert kata("list").exit_code == 0, damaged


def test_a_workspace_overwrites_nothing(mine, tmp_path):
    """A README stays, and anything else in the way is told before a file is written."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "README.md").write_text("mine")
    (work / "pytest.ini").write_text("")
    with pytest.raises(UserError, match=r"has a file pytest\.ini already; nothing was written"):
        init(work, str(mine.root))
    assert sorted(path.name for path in work.iterdir()) == ["README.md", "pytest.ini"]
    (work / "pytest.ini").unlink()
    init(work, str(mine.root))
    assert (work / "README.md").read_text() == "mine"
    with pytest.raises(UserError, match="needs no workspace"):
        init(mine.root)


@pytest.mark.parametrize("text", ["pack = 3", "packs = 'a'", "pack"])
def test_a_wrong_setting_is_a_sentence(tmp_path, monkeypatch, text):
    """With what may stand there."""
    (tmp_path / "katas.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    result = kata("list")
    assert result.exit_code == 2
    assert 'pack = "DIR"' in result.stderr
