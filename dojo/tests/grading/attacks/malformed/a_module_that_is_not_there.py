"""An import that only the author's machine has.

reason: ModuleNotFoundError
policy: `my_helpers` may not be imported: it is not among what is installed for grading
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("import my_helpers\n")
