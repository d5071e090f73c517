"""How pytest finds the plugin: by conftest.py, by the entry point of an installation, or both; and where it does nothing."""

import os
import subprocess
import sys
import tomllib

import pytest

from dojo.tests import checkouts

TEST = """\
import os

import pytest


def test_environment(request, pytestconfig):
    assert "KATAS_DIR" not in os.environ
    assert not pytestconfig.pluginmanager.has_plugin("dojo-session")
    with pytest.raises(pytest.FixtureLookupError):
        request.getfixturevalue("rng")


def test_unwritten():
    raise NotImplementedError
"""


def run_pytest(folder, *arguments, **variables):
    """`pytest ARGUMENTS` in `folder`, in an interpreter of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KATA", "PYTEST"))}
    environment |= {"PYTHONPATH": str(checkouts.REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | variables
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_entry_point_has_the_name_that_conftest_uses():
    """pytest registers a plugin once for each name."""
    project = tomllib.loads((checkouts.REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"dojo.engine.plugin": "dojo.engine.plugin"}
    assert 'pytest_plugins = ["dojo.engine.plugin"]' in (checkouts.REPOSITORY / "conftest.py").read_text()


def test_an_installed_plugin_is_registered_once_in_a_checkout(checkout):
    """The entry point loads it as `-p` does, and then conftest.py names it again."""
    checkouts.solve(checkout)
    run = run_pytest(checkout.root, "-p", "dojo.engine.plugin")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("katas: answers/ (yours), hash ") == 1
    assert "6 passed" in run.stdout


@pytest.mark.parametrize("conftest", [True, False], ids=["with conftest.py", "without"])
def test_the_entry_point_works_and_warns_of_nothing(checkout, tmp_path, conftest):
    """The metadata of an installed wheel: pytest loads its entry point, and rewrites the assertions in its packages."""
    site = tmp_path / "site"
    metadata = site / "katas_installed-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: katas-installed\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\ndojo.engine.plugin = dojo.engine.plugin\n")
    (metadata / "RECORD").write_text("dojo/__init__.py,,\nkatas/__init__.py,,\n")
    if not conftest:
        (checkout.root / "conftest.py").unlink()
    checkouts.solve(checkout)
    path = os.pathsep.join([str(site), str(checkouts.REPOSITORY)])
    run = run_pytest(checkout.root, PYTHONPATH=path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("katas: answers/ (yours), hash ") == 1
    assert "6 passed" in run.stdout
    assert "arning" not in run.stdout + run.stderr


def test_a_checkout_needs_no_conftest_where_the_package_is_installed(checkout):
    """A pack of katas has only the folders of a checkout."""
    (checkout.root / "conftest.py").unlink()
    checkouts.solve(checkout)
    run = run_pytest(checkout.root, "-p", "dojo.engine.plugin")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("katas: answers/ (yours), hash ") == 1


@pytest.mark.parametrize("options", [(), ("-q",), ("-p", "no:terminal")], ids=" ".join)
def test_the_plugin_does_nothing_outside_a_checkout(tmp_path, options):
    """No header, no fixtures, no verdicts, no KATAS_DIR, no files."""
    (tmp_path / "test_other.py").write_text(TEST)
    run = run_pytest(tmp_path, "-p", "dojo.engine.plugin", "-p", "no:cacheprovider", *options)
    assert run.returncode == 1
    assert run.stderr == ""
    if "no:terminal" not in options:
        assert "1 failed, 1 passed" in run.stdout
    assert "katas:" not in run.stdout
    assert "not started" not in run.stdout
    assert not (tmp_path / ".dojo").exists()


def test_importing_the_plugin_brings_neither_torch_nor_the_diagnosis(tmp_path):
    """Every pytest run on a machine where the package is installed imports it."""
    program = "import sys; import dojo.engine.plugin; print(*sorted({'torch', 'numpy', 'sqlite3'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(checkouts.REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (run.stdout, run.stderr) == ("\n", "")
