"""The folder katas/ is a link to the references.

status: refused
reason: katas is a link
"""

from dojo.core.paths import find_checkout


def build(folder):
    (folder / "katas").rmdir()
    (folder / "katas").symlink_to(find_checkout().solutions, target_is_directory=True)
