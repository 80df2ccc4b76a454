"""A folder for a Hugging Face Space: the dashboard, in the project's own container."""

import shutil
from pathlib import Path

from helpers import io
from helpers.serving.table import ServingError

PARTS = ("Dockerfile", ".dockerignore", "LICENSE", "pyproject.toml", "requirements.txt", "helpers")
"""What the image is made of; no data is among it."""


def write(folder: Path) -> None:
    """Write the folder, whole or not at all.

    Parameters
    ----------
    folder : Path
        New or empty. It can be pushed to a Space of the Docker kind as it is.

    Raises
    ------
    ServingError
        If there is something at ``folder``, or the project is not a checkout.
    """
    root, folder = Path(__file__).parents[2], folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ServingError(f"{folder} is not an empty folder; name a new one with --to (make: TO=)")
    if missing := [name for name in PARTS if not (root / name).exists()]:
        raise ServingError(
            f"{root} has no {', '.join(missing)}; run this in a clone of the project"
        )
    with io.replaced_folder(folder) as draft:
        for name in PARTS:
            if (root / name).is_dir():
                without = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(root / name, draft / name, ignore=without)
            else:
                shutil.copy(root / name, draft / name)
        shutil.copy(Path(__file__).with_suffix(".md"), draft / "README.md")
