"""`kata dev verify`: a sound kata passes the proof, and each way to fall short gets a sentence.

All katas of this file are verified together, once without and once with mutants; most tests read one of the reports.
"""

import io

import pytest
from click.testing import CliRunner
from rich.console import Console

from dojo.authoring.verify import proof
from dojo.authoring.verify import report as results
from dojo.authoring.verify.mutants import mutants
from dojo.authoring.verify.report import ProofReport, Survivor
from dojo.cli import dev_tables
from dojo.cli.main import main
from dojo.core.catalog import load_catalog
from dojo.tests.checkouts import EDGES, MISTAKES, PROBE, SOLUTION, TESTS, add_kata, in_child, make_checkout

SMALL = SOLUTION[: SOLUTION.index("\n\ndef shift")]
SMALL_TEST = """
import pytest

from dojo.testing import expect_equal, expect_raises
from katas.tiny import double


@pytest.mark.parametrize("x", [0, 1, 5])
def test_double(x):
    expect_equal(double(x), 2 * x)


def test_negative():
    with expect_raises(ValueError):
        double(-1)
"""
SMALL_TESTS = {"test_1_core.py": SMALL_TEST}
SMALL_PROBE = """
from dojo.testing.probes import Case


def cases(rng):
    for x in (0, 1, 5, -1):
        yield Case(f"double {x}", of="double", x=x)
    yield Case("double any", of="double", x=int(rng.initial_seed() % 1000) + 10)


def run(kata, case):
    return {"doubled": kata.double(case.x)}
"""


# A busy machine slows trials down; what these tests ask is not how long they take.
TRIAL_TIMEOUT_S = 600
PROOF_TIMEOUT_S = 3000


def mistake(name, old, new, test):
    """An entry of a mistakes file."""
    return f'\n[[mistake]]\nname = "{name}"\nsays = "{name}"\nold = "{old}"\nnew = "{new}"\ncaught_by = "{test}"\n'


SMALL_MISTAKES = mistake("squares", "x * 2", "x * x", "test_double") + mistake("adds", "x * 2", "x + 2", "test_double")
LIMIT = "double: if x < 0: -> if x <= 0:"
LIMIT_1 = "double: if x < 0: -> if x < 1:"


def survivor_entry(change):
    """An entry of a mistakes file that explains a survivor."""
    return f'\n[[survivor]]\nchange = "{change}"\nwhy = "a convention"\n'


def add_alternative(checkout, kata, name, source):
    folder = checkout.tests(kata) / "alternatives"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(source)


def add_faulty_katas(checkout):
    """Adds katas that fall short without any mutant, named after their fault."""
    nothing = "\n\ndef test_nothing():\n    pass\n\n\ndef test_broken():\n    assert double.written\n"
    add_kata(checkout, "bad_tests", tests=TESTS | {"test_2_edges.py": EDGES + nothing})
    unfinished = "if x == 5:\n        raise NotImplementedError\n    return "
    wrong = SOLUTION.replace("return x * 2", unfinished + "x * 3")
    add_kata(checkout, "wrong_reference", solution=wrong, mistakes=MISTAKES.replace("x * 2", "x * 3"))
    lucky = "\n\ndef test_lucky(seed):\n    assert double(2) == 4 and seed == 0, 'bad luck'\n"
    add_kata(checkout, "fails_at_a_seed", tests=TESTS | {"test_2_edges.py": EDGES + lucky})
    missed = (
        mistake("wrong at 7", "x * 2", "x * 2 + (x == 7)", "test_double_is_twice_as_much"),
        mistake("elsewhere", "x + by", "x - by", "test_double_is_twice_as_much"),
        mistake("of yesterday", "x + by", "x + by + 1", "test_of_yesterday"),
    )
    seven = PROBE.replace("(0, 1, 5, -1)", "(0, 1, 5, 7, -1)")
    add_kata(checkout, "uncaught", mistakes=MISTAKES + "".join(missed), probe=seven)
    add_kata(checkout, "patch_does_not_fit", mistakes=MISTAKES.replace("x + by", "x + bye"))
    add_kata(checkout, "blind_probe", probe=PROBE.replace('yield Case("shift', 'Case("shift'))
    add_kata(checkout, "bad_alternatives")
    add_alternative(checkout, "bad_alternatives", "wrong", SOLUTION.replace("x * 2", "x * 4"))
    add_alternative(checkout, "bad_alternatives", "unfinished", SOLUTION.replace("return x * 2", unfinished + "x * 2"))
    strict = PROBE.replace("kata.double(case.x)}", 'kata.double(case.x), "how": kata.double.__doc__}')
    add_kata(checkout, "strict_probe", probe=strict)
    add_alternative(checkout, "strict_probe", "other", SOLUTION.replace("Twice x.", "x and x."))
    add_kata(checkout, "guessable", probe=PROBE.replace("(any_number, 3)", "(9, 3)"))
    add_kata(checkout, "no_plain_data", probe=PROBE.replace("arguments=(4,)", "arguments=(4,), how=print"))
    add_kata(checkout, "names_change", probe=PROBE.replace('"shift 4"', 'f"shift {rng.initial_seed()}"'))
    add_kata(checkout, "bad_mistakes", mistakes="[[mistake]\n")
    add_kata(checkout, "no_fence")
    checkout.reference("no_fence").write_text("def double(x):\n    return x * 2\n")
    for name, path in (
        ("no_mistakes", checkout.mistakes),
        ("no_reference", checkout.reference),
        ("no_tests", lambda kata: checkout.tests(kata) / "test_1_core.py"),
        ("no_probe", checkout.probe),
    ):
        add_kata(checkout, name, solution=SMALL, tests=SMALL_TESTS, probe=SMALL_PROBE, mistakes=SMALL_MISTAKES)
        path(name).unlink()


def add_small_katas(checkout):
    """Adds katas that are verified with their mutants."""

    def add(name, *, without_zero=False, mistakes=SMALL_MISTAKES, blind=False):
        test = SMALL_TEST.replace("0, 1, 5", "1, 5") if without_zero else SMALL_TEST
        probe = SMALL_PROBE.replace("0, 1, 5", "1, 5") if blind else SMALL_PROBE
        tests = {"test_1_core.py": test}
        add_kata(checkout, name, solution=SMALL, tests=tests, probe=probe, mistakes=mistakes)

    add("sound")
    add_alternative(checkout, "sound", "adds", SMALL.replace("x * 2", "x + x"))
    add("unexplained", without_zero=True)
    both = SMALL_MISTAKES + survivor_entry(LIMIT) + survivor_entry(LIMIT_1)
    add("explained", without_zero=True, mistakes=both, blind=True)
    add("stale_survivor", mistakes=SMALL_MISTAKES + survivor_entry(LIMIT))


def verified(checkout, **options):
    """Returns the report of each kata. Two mistakes and one seed are enough here."""

    def run():
        results.MIN_MISTAKES, results.MIN_ALTERNATIVES, proof.SEEDS = 2, 0, (7,)
        reports = proof.verify(checkout, [], jobs=2, trial_timeout_s=TRIAL_TIMEOUT_S, **options)
        return {report.kata: report for report in reports}

    return in_child(run, timeout_s=PROOF_TIMEOUT_S)


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, ProofReport]:
    """The reports of all katas: the faulty ones without mutants, the small ones with them."""
    first = make_checkout(tmp_path_factory.mktemp("verify") / "first")
    add_faulty_katas(first)
    second = make_checkout(tmp_path_factory.mktemp("verify") / "second")
    add_small_katas(second)
    return {**verified(first, with_mutants=False), **verified(second)}


def test_a_sound_kata_has_no_shortfall(reports):
    """All is counted, and no mutant survives."""
    report = reports["sound"]
    assert report.shortfalls == report.survivors == report.unnamed == []
    assert (report.tests, report.mistakes, report.caught, report.named) == (4, 2, 2, 2)
    assert (report.alternatives, report.rejected) == (1, set())
    assert report.mutants == report.killed >= 8
    assert report.kill_rate == 1.0


@pytest.mark.parametrize(
    ("kata", "sentence"),
    [
        ("bad_tests", "test_nothing passes on the stub; a test must fail until its code is written"),
        ("bad_tests", "on the stub a test should read 'not started', but test_broken: "),
        ("wrong_reference", "fails at seed 7: test_double_is_twice_as_much[1]: double(1) should be 2, but is 3"),
        ("wrong_reference", "the reference fails at seed 7: test_double_is_twice_as_much[5]: not started"),
        ("fails_at_a_seed", "the reference fails at seed 7: test_lucky: AssertionError: bad luck"),
        ("uncaught", "mistake 'wrong at 7' is not caught by test_double_is_twice_as_much"),
        ("uncaught", "mistake 'elsewhere' is not caught by test_double_is_twice_as_much"),
        ("uncaught", "mistake 'of yesterday' is not caught by test_of_yesterday"),
        ("uncaught", "runs name 2 of 5 mistakes; 90% are asked for"),
        ("patch_does_not_fit", "mistake 'moves down': its `old` text stands 0 times in the reference"),
        ("blind_probe", "the probe cannot tell mistake 'moves down' from the reference; add a case"),
        ("bad_alternatives", "tests/bad_alternatives/alternatives/wrong.py, a right answer, fails at seed 7: test"),
        ("bad_alternatives", "unfinished.py, a right answer, fails at seed 7: test_double_is_twice_as_much[5]: not"),
        ("strict_probe", "the probe tells tests/strict_probe/alternatives/other.py from the reference at seed 0"),
        ("guessable", "no case of shift depends on the seed, so its answers could be guessed"),
        ("no_plain_data", "the inputs of the case 'shift 4' are no plain data"),
        ("names_change", "the probe's cases have other names at seed 1"),
        ("no_mistakes", "0 named mistakes; a kata has at least 2"),
        ("bad_mistakes", "bad_mistakes/mistakes.toml is not valid TOML"),
        ("no_reference", "no_reference.py cannot be read"),
        ("no_tests", "no test ran"),
        ("no_probe", "no_probe/probe.py"),
        ("no_fence", "solutions/no_fence.py has no fence"),
        ("unexplained", "2 surviving mutants are not explained: add a test that kills them, or a [[survivor]] entry"),
        ("unexplained", "of the non-equivalent mutants die; 95% are asked for"),
        ("stale_survivor", f"a [[survivor]] entry explains no surviving mutant: {LIMIT}"),
    ],
)
def test_each_shortfall_has_a_sentence(reports, kata, sentence):
    """It names the file, the test or the mistake to mend."""
    assert any(sentence in shortfall for shortfall in reports[kata].shortfalls), reports[kata].shortfalls


@pytest.mark.parametrize(
    "kata",
    ["patch_does_not_fit", "bad_mistakes", "no_reference", "no_fence", "stale_survivor"],
)
def test_one_fault_is_one_shortfall(reports, kata):
    """A file that cannot be read is not also blamed for having no mistakes and killing no mutants."""
    assert len(reports[kata].shortfalls) == 1, reports[kata].shortfalls


def test_explained_survivors_are_no_shortfall(reports):
    """The probe sees no difference either, so they do not lower the rate."""
    report = reports["explained"]
    assert report.shortfalls == []
    assert set(report.survivors) == {Survivor(change, False, "a convention") for change in (LIMIT, LIMIT_1)}


def test_survivors_that_the_probe_sees_lower_the_rate(reports):
    """The probe tells them apart, so a test could."""
    report = reports["unexplained"]
    assert set(report.survivors) == {Survivor(change, True, "") for change in (LIMIT, LIMIT_1)}
    assert report.kill_rate < 0.95


def test_a_kept_proof_is_told_below_the_table():
    """In the table it would leave the other columns no room on a terminal of 80 columns."""
    out = Console(file=io.StringIO(), width=80)
    kept = ProofReport("hyperparameter_search", tests=69, seconds=0.4, mistakes=67, caught=67, proved_on="2026-11-29")
    dev_tables.verify_table(out, [kept, ProofReport("tiny")])
    lines = out.file.getvalue().splitlines()
    assert lines[0].split() == ["kata", "tests", "time", "mistakes", "named", "mutants", "rate", "others", "peers"]
    assert lines[1].startswith("hyperparameter_search")
    assert "1 of 2 are unchanged since they were proved here, last on 2026-11-29; --again proves them again." in lines


def test_rejected_alternatives_are_counted(reports):
    """The table shows them, and the sentences name them."""
    report = reports["bad_alternatives"]
    assert report.alternatives == len(report.rejected) == 2


def printed_table(report):
    """What `kata dev verify` prints for this report, as one line of words."""
    out = Console(file=io.StringIO(), width=120)
    dev_tables.verify_table(out, [report])
    return " ".join(out.file.getvalue().split())


@pytest.mark.parametrize(
    ("report", "row"),
    [
        (ProofReport("tiny"), "tiny - - - - - - - - ok"),
        (ProofReport("tiny", mutants=1, survivors=[Survivor(LIMIT, False, "why")]), "tiny - - - - 0/1 - - - ok"),
        (ProofReport("tiny", mutants=1, survivors=[Survivor(LIMIT, True, "why")]), "tiny - - - - 0/1 0.0% - - ok"),
    ],
    ids=["no mutants", "only equivalent mutants", "one that should die"],
)
def test_a_rate_of_no_mutants_is_a_dash(report, row):
    """0 of 0 is not 0 %: where no mutant can die, none is missed."""
    assert row in printed_table(report)


def test_no_mutants_are_no_shortfall(tmp_path):
    """A new kata's reference, `return x`, has none."""
    checkout = make_checkout(tmp_path / "checkout")
    constant = SMALL.replace(
        '    if x < 0:\n        raise ValueError("x is negative")\n    return x * 2', "    return x"
    )
    assert mutants(constant, "tiny") == []
    test = SMALL_TEST[: SMALL_TEST.index("\n\ndef test_negative")].replace("2 * x", "x")
    probe = SMALL_PROBE.replace("(0, 1, 5, -1)", "(0, 1, 5)")
    wrong = mistake("doubles", "return x", "return 2 * x", "test_double") + mistake(
        "adds", "return x", "return x + 1", "test_double"
    )
    add_kata(checkout, "constant", solution=constant, tests={"test_1_core.py": test}, probe=probe, mistakes=wrong)
    report = verified(checkout)["constant"]
    assert (report.mutants, report.kill_rate, report.shortfalls) == (0, None, [])


@pytest.mark.parametrize("name", ["sound", "few_mistakes"])
def test_the_command_exits_with_1_where_a_kata_falls_short(tmp_path, monkeypatch, name):
    """And with 0 where everything holds."""
    checkout = make_checkout(tmp_path / "checkout")
    add_kata(checkout, "sound")
    add_kata(checkout, "few_mistakes", mistakes=MISTAKES.split("\n\n")[0])
    monkeypatch.chdir(checkout.root)

    def run():
        results.MIN_MISTAKES, results.MIN_ALTERNATIVES, proof.SEEDS = 2, 0, (0,)
        result = CliRunner().invoke(main, ["dev", "verify", name, "--jobs", "2", "--no-mutants"])
        return result.exit_code, result.output

    code, output = in_child(run, timeout_s=PROOF_TIMEOUT_S)
    assert code == (name != "sound"), output
    assert "1 katas in " in output
    if name == "sound":
        assert "The run names 2 of 2 mistakes (100%)." in output
    else:
        assert "few_mistakes: 1 named mistakes; a kata has at least 2" in output


def test_an_adapter_that_fails_is_a_shortfall(tmp_path):
    """`--peers` tries installed libraries behind adapters, and nothing else."""
    checkout = make_checkout(tmp_path / "checkout")
    add_kata(checkout, "tiny")
    folder = checkout.tests("tiny") / "peers"
    folder.mkdir()
    (folder / "good.py").write_text(SOLUTION.replace("x * 2", "x + x"))
    (folder / "absent.py").write_text("import no_such_library\n")
    report = verified(checkout, peers=True)["tiny"]
    assert (report.peers, report.tests, report.mistakes) == (2, 0, 0)
    assert report.rejected == {"tests/tiny/peers/absent.py"}
    assert all("no_such_library" in shortfall for shortfall in report.shortfalls)


def test_a_sample_tries_few_and_judges_only_those(tmp_path):
    """Only the complete proof judges rates and survivors' entries."""
    checkout = make_checkout(tmp_path)
    add_small_katas(checkout)
    sampled = verified(checkout, sample=1)
    assert all((r.mistakes, r.mutants) == (1, 1) for r in sampled.values())
    assert sampled["stale_survivor"].shortfalls == sampled["sound"].shortfalls == []
    assert sampled["sound"].alternatives == 1
    again = verified(checkout, sample=1)
    assert {k: r.survivors for k, r in again.items()} == {k: r.survivors for k, r in sampled.items()}


def test_what_has_not_changed_is_not_proved_again(tmp_path):
    """Unless asked to; a report with a shortfall is never kept."""
    checkout = make_checkout(tmp_path)
    add_small_katas(checkout)
    assert not any(report.proved_on for report in verified(checkout).values())
    second = verified(checkout)
    assert {kata for kata, report in second.items() if report.proved_on} == {"sound", "explained"}
    assert second["sound"].mutants == second["sound"].killed >= 8
    assert not any(report.proved_on for report in verified(checkout, again=True).values())
    checkout.reference("sound").write_text(SMALL + "\n")
    assert {kata for kata, report in verified(checkout).items() if report.proved_on} == {"explained"}


def test_what_is_proved_is_kept_if_the_rest_is_interrupted(tmp_path, monkeypatch):
    """After each group of katas: their proofs together take minutes."""
    checkout = make_checkout(tmp_path)
    add_small_katas(checkout)
    katas = [kata.name for kata in load_catalog(checkout).katas]
    monkeypatch.setattr(proof, "GROUP", katas.index("sound") + 1)

    def run():
        def progress(done, total):
            assert done <= total
            if list((checkout.state / "cache").glob("proof-*")):
                raise KeyboardInterrupt

        results.MIN_MISTAKES, results.MIN_ALTERNATIVES, proof.SEEDS = 2, 0, (7,)
        with pytest.raises(KeyboardInterrupt):
            proof.verify(checkout, [], jobs=2, progress=progress)

    in_child(run, timeout_s=PROOF_TIMEOUT_S)
    assert verified(checkout)["sound"].proved_on


def test_too_few_alternatives_are_a_shortfall(tmp_path):
    """Five, as CONTRIBUTING.md says."""
    checkout = make_checkout(tmp_path)
    add_kata(checkout, "sound", solution=SMALL, tests=SMALL_TESTS, probe=SMALL_PROBE, mistakes="")
    add_alternative(checkout, "sound", "adds", SMALL.replace("x * 2", "x + x"))

    def run():
        return proof.verify(checkout, [], jobs=2, with_mutants=False, trial_timeout_s=TRIAL_TIMEOUT_S)[0].shortfalls

    shortfalls = in_child(run, timeout_s=PROOF_TIMEOUT_S)
    assert "1 alternatives; a kata has at least 5" in shortfalls
