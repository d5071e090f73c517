"""`%%kata` and `%kata` in an IPython shell: the cell is the answer, and its verdict appears below."""

from html.parser import HTMLParser

import pytest

from dojo.core.catalog import load_catalog
from dojo.progress import runs
from dojo.progress.attempts import read_attempts

pytest.importorskip("IPython")
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output


class Notebook:
    """A shell that has loaded the extension. `cell` and `line` return the pages below, as text."""

    def __init__(self):
        self.shell = InteractiveShell.instance()
        self.shell.run_line_magic("load_ext", "dojo.notebook")
        self.pages = []

    def cell(self, name, text):
        return self._shown(lambda: self.shell.run_cell_magic("kata", name, text))

    def close(self):
        self.shell.run_line_magic("unload_ext", "dojo.notebook")
        InteractiveShell.clear_instance()

    def line(self, text):
        return self._shown(lambda: self.shell.run_line_magic("kata", text))

    def _shown(self, action):
        with capture_output() as captured:
            action()
        self.pages = captured.outputs
        for page in self.pages:
            Strict().feed(page.data["text/html"])
        return "\n".join(page.data["text/plain"] for page in self.pages)

    @property
    def last(self):
        """The page as it was updated last: plain text and HTML."""
        return self.pages[-1].data["text/plain"], self.pages[-1].data["text/html"]


class Strict(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def notebook(checkout):
    """A notebook in the checkout with the kata `tiny`."""
    notebook = Notebook()
    yield notebook
    notebook.close()


@pytest.fixture
def reference(checkout):
    return checkout.reference("tiny").read_text()


def test_a_cell_is_saved_tested_named_and_recorded(notebook, checkout, reference):
    """Wrong, then right: the same verdict and the same history as on every save of `kata watch`."""
    wrong = reference.replace("x * 2", "x * x")
    notebook.cell("tiny", wrong)
    text, html = notebook.last
    assert checkout.answer("tiny").read_text() == wrong
    assert "4 of 6 tests pass" in text
    assert "✗ test_double_is_twice_as_much[1]   and 1 more" in text
    assert "hint: add x to itself" in text
    assert "Your result is exactly what you get when x is multiplied by itself." in text
    assert text.splitlines()[0].endswith("□■  4 of 6 tests pass")
    assert "test_double_is_twice_as_much[1]" in html
    assert "double" not in notebook.shell.user_ns

    notebook.cell("tiny", reference)
    assert "Solved: every test passes." in notebook.last[0]
    assert "kata solution tiny" in notebook.last[1]
    assert notebook.shell.user_ns["double"](4) == 8  # what is right can be used further down
    assert runs.progress(checkout, "tiny").state == "solved"
    (attempt,) = read_attempts(checkout, "tiny")
    assert [d.mistake for d in attempt.diagnoses] == ["squares"]
    assert [run.how for run in attempt.runs] == ["watch", "watch"]


def test_what_else_a_cell_may_hold(notebook, checkout, reference):
    """The stub says what to write, a crash is a sentence, and what is printed is shown as text, also if it looks like HTML."""
    notebook.cell("tiny", checkout.stub("tiny").read_text())
    assert "write" in notebook.last[0]
    notebook.cell("tiny", reference.replace("return x * 2", "import os; os._exit(3)"))
    assert "The run ended the process (exit code 3)" in notebook.last[0]
    notebook.cell("tiny", reference.replace("return x * 2", 'print("<b>bold</b>")\n    return x * 3'))
    text, html = notebook.last
    assert "<b>bold</b>" in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "<b>bold" not in html


def test_another_text_in_the_file_is_copied_before_it_is_replaced(notebook, checkout, reference):
    """Not if this notebook, or the stub, put it there."""
    copies = checkout.state / "backups"
    notebook.cell("tiny", reference)
    notebook.cell("tiny", reference + "# more\n")
    assert not copies.exists()
    checkout.answer("tiny").write_text("# written in an editor\n")
    shown = notebook.cell("tiny", reference)
    (copy,) = copies.iterdir()
    assert copy.read_text() == "# written in an editor\n"
    assert f"answers/tiny.py held something else, which is now in .dojo/backups/{copy.name}" in shown
    assert checkout.answer("tiny").read_text() == reference


def test_start_puts_the_answer_into_a_new_cell(notebook, checkout):
    """The stub at first; what was written elsewhere is then known, and not copied."""
    notebook.line("start tiny")
    assert notebook.shell.rl_next_input.startswith("%%kata tiny\n")
    assert "raise NotImplementedError" in notebook.shell.rl_next_input
    checkout.answer("tiny").write_text("# mine\n")
    notebook.line("start")
    assert notebook.shell.rl_next_input == "%%kata tiny\n# mine"
    notebook.cell("tiny", "# changed")
    assert not (checkout.state / "backups").exists()


def test_hints_climb_and_the_solution_has_its_gate(notebook, checkout, reference):
    """As in the terminal."""
    assert "Hint 1 of 3" in notebook.line("hint tiny")
    assert "Hint 2 of 3" in notebook.line("hint")
    assert "opens when its tests pass" in notebook.line("solution tiny")
    assert "return x * 2" not in notebook.line("solution tiny")
    assert runs.count_events(checkout, "tiny", "solution") == 0
    given_up = notebook.line("solution tiny --give-up")
    assert "return x * 2" in given_up
    assert "Add once more." in given_up  # a follow-up question's answer
    assert runs.count_events(checkout, "tiny", "solution") == 1


def test_pages_of_the_list_of_a_kata_and_of_what_is_due(notebook, checkout, reference):
    """Each in text and in HTML."""
    assert "0 of 1 katas solved" in notebook.line("list")
    shown = notebook.line("show tiny")
    kata = load_catalog(checkout)["tiny"]
    assert all(text in shown for text in ("How would you double?", "def double", *kata.stages))
    assert runs.count_events(checkout, "tiny", "show") == 1
    assert "Nothing to repeat yet" in notebook.line("due")
    notebook.cell("tiny", reference)
    assert "✓ tiny" in notebook.line("list")
    assert "tiny: in " in notebook.line("due")
    assert "Solved" in notebook.line("test")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "%%kata NAME"),
        ("frob", "There is no %kata frob. What there is: %kata"),
        ("show tinny", "There is no kata called 'tinny'. Did you mean tiny?"),
        ("hint", "Which kata? Name it"),
        ("solution 'tiny", "quotation"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(notebook, line, says):
    """Never a traceback."""
    assert says in notebook.line(line)


def test_a_folder_without_katas_becomes_a_workspace(checkout, tmp_path, monkeypatch):
    """`%kata init` where a notebook was opened without a clone."""
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    monkeypatch.chdir(lonely)
    notebook = Notebook()
    monkeypatch.setattr("dojo.core.paths.CLONE", tmp_path / "nowhere")
    monkeypatch.setattr("dojo.core.paths.own_pack", lambda: None)
    assert "make a workspace here" in notebook.line("list")
    monkeypatch.setattr("dojo.core.paths.own_pack", lambda: checkout.root)
    assert "Your answers are in" in notebook.line("init work")
    assert (lonely / "work" / "answers" / "tiny.py").is_file()
    assert "0 of 1 katas solved" in notebook.line("list")
    notebook.close()
