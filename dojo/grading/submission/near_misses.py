"""Recognises files that were probably meant as a kata's: other case, a second extension, an archive, a typing error.

And what platforms and people add to a name: "ddpm (2).py", "Copy of ddpm.py", "ddpm_final.py", "ada_LATE_12_34_ddpm.py".
"""

import difflib
import re

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
# What browsers, file managers and editors make of `NAME.py`.
ENDINGS = (".py", ".py.txt", ".txt", " (1).py", "(1).py", "-1.py", ".ipynb", ".py.zip", *ARCHIVES)
MAX_FILES_COMPARED = 100  # comparing names is quadratic in their number
MIN_LIKENESS = 0.75
WORD = re.compile(r"[^\W_]+")
# A file with one of these words in its name is something else.
OTHER_FILES = {"test", "tests", "conftest", "util", "utils", "helper", "helpers", "probe", "bench", "notes", "setup"}


def is_archive(file: str) -> bool:
    """Whether the extension of `file` is that of an archive."""
    return file.casefold().endswith(ARCHIVES)


def hint(kata: str, prefix: str, files: list[str], katas: frozenset[str] = frozenset()) -> str:
    """A sentence, with a blank before it, about those of `files` that were probably meant as `kata`.py.

    First come those that are it but for their ending or case, then those that have its name among other words. Empty if
    there is none. `prefix` is the folder as it is shown, `katas` are the names that a file may have for itself.
    """
    wanted = {f"{kata}{ending}".casefold() for ending in ENDINGS}
    for file in sorted(files):
        if file.casefold() not in wanted or file == f"{kata}.py":
            continue
        if is_archive(file):
            return f" There is {prefix}{file}: unpack it."
        if file.casefold().endswith(".ipynb"):
            return f" {prefix}{file} is a notebook: export it as {kata}.py."
        return f" There is {prefix}{file}: rename it to {kata}.py."
    likely = [f"{prefix}{file}" for file in sorted(files) if file.isprintable() and _names_kata(file, kata, katas)]
    if len(likely) > 1:
        return f" There are {', '.join(likely[:3])}: rename the one that is meant to {kata}.py."
    return f" There is {likely[0]}: if it is meant, rename it to {kata}.py." if likely else ""


def _names_kata(file: str, kata: str, katas: frozenset[str]) -> bool:
    """Whether the words of a Python file's name are those of `kata`, with others around that no file of its own has."""
    stem = file.casefold().removesuffix(".txt").removesuffix("~")
    if not stem.endswith(".py") or stem.removesuffix(".py") in katas:
        return False
    words = WORD.findall(stem.removesuffix(".py"))
    name = WORD.findall(kata.casefold())
    places = [i for i in range(len(words)) if words[i : i + len(name)] == name]
    return bool(places) and not OTHER_FILES & set(words)


def misspelt_files(prefix: str, files: list[str], katas: frozenset[str]) -> dict[str, str]:
    """Maps a kata to the file whose name is nearly its own: {"early_stopping": "katas/early_stoping.py"}."""
    stems = [name.removesuffix(".py") for name in files if name.endswith(".py") and name.isprintable()]
    candidates = [
        stem for stem in stems if stem not in katas and len(stem) < 50 and not stem.startswith(("_", "test_"))
    ]
    misspelt: dict[str, str] = {}
    for stem in sorted(candidates)[:MAX_FILES_COMPARED]:
        for kata in difflib.get_close_matches(stem.casefold(), sorted(katas), n=1, cutoff=MIN_LIKENESS):
            misspelt.setdefault(kata, f"{prefix}{stem}.py")
    return misspelt
