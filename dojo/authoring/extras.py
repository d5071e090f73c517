"""Libraries that only some commands need. They are installed by an extra of this package."""

import importlib.util

from dojo.core.errors import UserError

INSTALL_NOTEBOOKS = "pip install -e '.[notebooks]'"


def require_notebook_libraries(purpose: str, *libraries: str) -> None:
    """Raises UserError with the command that installs them if one of `libraries` is missing."""
    missing = [library for library in libraries if importlib.util.find_spec(library) is None]
    if missing:
        raise UserError(f"{purpose} need packages that are not installed ({', '.join(missing)}): {INSTALL_NOTEBOOKS}")
