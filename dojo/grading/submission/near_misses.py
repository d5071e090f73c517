"""Recognises files that were probably meant as a kata's: other case, a second extension, an archive, a typing error."""

import difflib

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
# What browsers, file managers and editors make of `NAME.py`.
ENDINGS = (".py", ".py.txt", ".txt", " (1).py", "(1).py", "-1.py", ".ipynb", ".py.zip", *ARCHIVES)
MAX_FILES_COMPARED = 100  # comparing names is quadratic in their number
MIN_LIKENESS = 0.75


def is_archive(file: str) -> bool:
    """Whether the extension of `file` is that of an archive."""
    return file.casefold().endswith(ARCHIVES)


def hint(kata: str, prefix: str, files: list[str]) -> str:
    """A sentence, with a blank before it, about the first of `files` that is `kata`.py but for its ending or case.

    Empty if there is none. `prefix` is the folder as it is shown.
    """
    wanted = {f"{kata}{ending}".casefold() for ending in ENDINGS}
    for file in files:
        if file.casefold() not in wanted or file == f"{kata}.py":
            continue
        if is_archive(file):
            return f" There is {prefix}{file}: unpack it."
        if file.casefold().endswith(".ipynb"):
            return f" {prefix}{file} is a notebook: export it as {kata}.py."
        return f" There is {prefix}{file}: rename it to {kata}.py."
    return ""


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
