"""Builds notebooks: `notebooks/x.py` is the source, as py:percent text, and `notebooks/x.ipynb` is built from it.

Building runs the cells against the references, in a kernel of this interpreter. The same source gives the same file: ids
of cells are counted, and times and the machine's paths stay out. Checking compares the sources of cells only, since
pictures differ between versions of matplotlib; outputs that matter are marked `# NBVAL_CHECK_OUTPUT` for nbval.
"""

import os
from pathlib import Path
from typing import Any

from dojo.authoring.extras import require_notebook_libraries
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.engine.target import child_environment

CELL_TIMEOUT_S = 300
METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}


def build_all(checkout: Checkout, check: bool) -> list[str]:
    """Builds every notebook; returns a sentence for each.

    With `check`, builds nothing and returns a sentence for each notebook that is not built from its source.
    """
    sources = sorted((checkout.root / "notebooks").glob("*.py"))
    if sources:
        require_notebook_libraries("Notebooks", "jupytext", "nbformat", *([] if check else ["nbclient", "ipykernel"]))
    if check:
        return [sentence for source in sources if (sentence := _stale(source))]
    return [f"{checkout.shown(build(source))} written." for source in sources]


def check(path: Path) -> bool:
    """Returns whether the notebook beside the source `path` holds the cells of that source."""
    return not _stale(path)


def build(path: Path) -> Path:
    """Runs the notebook whose source is `path` and writes it with its outputs beside the source; returns its file."""
    notebook = _read(path)
    _run(notebook, path.resolve())
    for cell in notebook.cells:
        cell.metadata = type(cell.metadata)()
    notebook.metadata = type(notebook.metadata)(METADATA)
    target = path.with_suffix(".ipynb")
    target.write_text(_nbformat().writes(notebook) + "\n", encoding="utf-8")
    return target


def _read(path: Path) -> Any:
    """Returns the notebook that `path` describes, not yet run, with ids that are the same at every build."""
    import jupytext

    notebook = jupytext.read(path, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{path.stem.replace('_', '-')}-{number:02d}"
    return notebook


def _run(notebook: Any, path: Path) -> None:
    """Executes the cells in place, with the references as `katas`."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class ThisInterpreter(KernelSpecManager):
        """Starts this interpreter: a "python3" that another environment has registered may lack torch."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    checkout = Checkout(path.parent.parent)
    environment = {
        **os.environ,
        **child_environment(checkout, checkout.solutions),
        "OMP_NUM_THREADS": "1",  # sums in one order, so the same numbers at every build
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # pictures are kept, whatever is set here
    }
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisInterpreter()),
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        client.execute(env=environment, cleanup_kc=True)  # it keeps a kernel whose manager it was given
    except CellExecutionError as error:
        raise UserError(f"notebooks/{path.name} does not run: {error.ename}: {error.evalue}\n{error}") from error


def _stale(path: Path) -> str:
    """Returns a sentence if the built notebook is not that of its source, else ""."""
    target = path.with_suffix(".ipynb")
    if not target.is_file():
        return f"notebooks/{target.name} does not exist; build it with `kata dev notebooks`."
    built = _nbformat().read(target, as_version=4)
    if [(c.id, c.cell_type, c.source) for c in built.cells] != [
        (c.id, c.cell_type, c.source) for c in _read(path).cells
    ]:
        return (
            f"notebooks/{target.name} is not what notebooks/{path.name} says; build it again with `kata dev notebooks`."
        )
    return ""


def _nbformat() -> Any:
    """Returns the module nbformat. Its functions have no types, so it is an Any."""
    import nbformat

    return nbformat
