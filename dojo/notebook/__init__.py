"""`%load_ext dojo.notebook`: solve katas in the cells of a notebook.

`%%kata NAME` at the head of a cell saves the cell as the answer, and shows its verdict below. `%kata` lists what else there is.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from dojo.notebook.magics import KataMagics

_loaded: "list[KataMagics]" = []


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Called by `%load_ext`."""
    from dojo.notebook.magics import KataMagics

    unload_ipython_extension(shell)
    _loaded.append(KataMagics(shell))
    shell.register_magics(_loaded[0])


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Called by `%unload_ext`, and by `%reload_ext`."""
    while _loaded:
        _loaded.pop().close()
