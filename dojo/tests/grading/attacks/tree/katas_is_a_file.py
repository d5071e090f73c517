"""A file named katas.

status: refused
reason: katas is a file, not a folder
"""


def build(folder):
    (folder / "katas").rmdir()
    (folder / "katas").write_text("x = 1\n")
