"""A folder for a Hugging Face Space: the dashboard, in the project's own container."""

import shutil
from pathlib import Path

from helpers import io
from helpers.serving.table import ServingError

PARTS = ("Dockerfile", ".dockerignore", "LICENSE", "pyproject.toml", "requirements.txt", "helpers")
"""What the image is made of; no data is among it."""

README = """\
---
title: Recommendations with ALS
emoji: 🎬
colorFrom: blue
colorTo: gray
sdk: docker
app_port: 7860
license: mit
---

A dashboard of recommendations for implicit feedback with alternating least squares: lists with
reasons beside the popular list, similar items, items folded in, and a model card.

The first start fetches MovieLens 100K from its publisher or a mirror, and fits the model. The
ratings are not part of this repository: they are © GroupLens, University of Minnesota, for
research, and may not be redistributed (F. M. Harper and J. A. Konstan, 2015, The MovieLens
Datasets: History and Context, https://doi.org/10.1145/2827872).
"""


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
        io.write_text(draft / "README.md", README)
