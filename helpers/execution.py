"""Execute one notebook with papermill, and keep what is the same in two equal runs."""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from helpers import io

WIDGET = "application/vnd.jupyter.widget-view+json"
logging.getLogger("papermill").setLevel(logging.ERROR)  # its remarks are of no use to the user


class _Engine(NBClientEngine):  # type: ignore[misc]
    """papermill's own, but it writes the notebook once at the end instead of twice a cell."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
        path, nb_man.output_path = nb_man.output_path, None
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            nb_man.output_path = path


papermill_engines.register("once", _Engine)


def execute(path: Path, values: Mapping[str, Any]) -> tuple[NotebookNode, str]:
    """The executed notebook, which ends with the failing cell, and why it failed."""
    failed, start = "", time.monotonic()
    with TemporaryDirectory() as folder:
        executed = Path(folder) / path.name
        try:
            papermill.execute_notebook(
                str(path).replace("{", "{{").replace("}", "}}"),  # it formats paths
                executed,
                parameters=dict(values),
                engine_name="once",
                kernel_name="python3",
                language="python",
                resources={"metadata": {"path": str(path.parent)}},  # its cwd is of the process
                extra_arguments=["--log-level=CRITICAL"],  # of the kernel itself, on the terminal
                record_timing=False,
                store_widget_state=False,
                progress_bar={"desc": path.stem, "file": sys.stderr, "disable": None},
            )
        except PapermillExecutionError as error:
            failed = f"{error.ename}: {error.evalue}"
        except DeadKernelError:
            failed = "the kernel died, most often because memory ran out"
        notebook = io.read_notebook(executed)
    failed = _strip(notebook, failed)
    if not sys.stderr.isatty():
        print(f"{path.stem}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return notebook, failed


def _strip(notebook: NotebookNode, failed: str) -> str:
    """Remove what differs between two equal runs and what follows a failure; say where it was."""
    remove_error_markers(notebook)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    ran = [n for n in code if notebook.cells[n].metadata.papermill["status"] != "pending"]
    for cell in notebook.cells:
        del cell.metadata["papermill"]
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        # Progress bars live in the kernel that drew them; stored, they are dead and differ.
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
    if not failed and ran == code:
        return ""
    last = ran[-1] if ran else 0
    notebook.cells = notebook.cells[: last + 1]
    if ran and not notebook.cells[last].execution_count:  # a dead kernel may not have sent it
        notebook.cells[last].execution_count = len(ran)
    why = " ".join(failed.split())[:300] or "it ended without an error"
    return f"stopped in cell {last + 1} of {code[-1] + 1}. {why}"
