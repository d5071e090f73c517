"""Notebooks are written as py:percent text: `notebooks/x.py` is the source, `notebooks/x.ipynb` is built from it.

Building runs the cells against the reference, in a kernel of this interpreter. The same source gives the same file:
cell ids are counted, nothing is timed, and nothing names the machine. Checking compares sources only, since pictures
may differ between versions of matplotlib; outputs that matter carry `# NBVAL_CHECK_OUTPUT`, and nbval runs them again.
"""

import os
from pathlib import Path
from typing import Any

from dojo.core.errors import UserError
from dojo.core.paths import Checkout

SECONDS = 300  # for one cell
METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}


def build_all(checkout: Checkout, check: bool) -> list[str]:
    """Builds every notebook and says so, one sentence each; with `check`, only says which are not up to date."""
    sources = sorted((checkout.root / "notebooks").glob("*.py"))
    if check:
        return [stale for source in sources if (stale := _stale(source))]
    return [f"{checkout.shown(build(source))} written." for source in sources]


def check(path: Path) -> bool:
    """Whether the notebook beside the source `path` holds the cells of that source."""
    return not _stale(path)


def build(path: Path) -> Path:
    """Runs the notebook whose source is `path` and writes it, outputs included, beside it."""
    notebook = _read(path)
    _run(notebook, path.resolve())
    for cell in notebook.cells:
        cell.metadata = type(cell.metadata)()
    notebook.metadata = type(notebook.metadata)(METADATA)
    target = path.with_suffix(".ipynb")
    target.write_text(_nbformat().writes(notebook) + "\n", encoding="utf-8")
    return target


def _read(path: Path) -> Any:
    """The notebook that `path` describes, not run, with ids that are the same at every build."""
    try:
        import jupytext
    except ImportError:
        raise _missing() from None
    notebook = jupytext.read(path, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{path.stem.replace('_', '-')}-{number:02d}"
    return notebook


def _run(notebook: Any, path: Path) -> None:
    """Executes the cells in place, with the reference as `katas`."""
    try:
        from ipykernel.kernelspec import get_kernel_dict
        from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ImportError:
        raise _missing() from None

    class ThisInterpreter(KernelSpecManager):
        """A "python3" that some other environment has registered would lack torch."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    root = path.parent.parent
    environment = os.environ | {
        "KATAS_DIR": str(root / "solutions"),
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",  # sums in one order, so the same numbers at every build
    }
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisInterpreter()),
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise UserError(f"notebooks/{path.name} does not run: {error.ename}: {error.evalue}\n{error}") from error


def _stale(path: Path) -> str:
    """Why the built notebook is not that of its source, in a sentence; empty when it is."""
    target = path.with_suffix(".ipynb")
    if not target.is_file():
        return f"notebooks/{target.name} does not exist; build it with `kata notebooks`."
    built = _nbformat().read(target, as_version=4)
    if [(c.id, c.cell_type, c.source) for c in built.cells] != [
        (c.id, c.cell_type, c.source) for c in _read(path).cells
    ]:
        return f"notebooks/{target.name} is not what notebooks/{path.name} says; build it again with `kata notebooks`."
    return ""


def _nbformat() -> Any:
    try:
        import nbformat
    except ImportError:
        raise _missing() from None
    return nbformat


def _missing() -> UserError:
    return UserError("Notebooks need more packages: pip install -e '.[notebooks]'")
