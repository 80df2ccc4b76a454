"""Models on disk: whole or not at all, without pickle, with a manifest."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares

from helpers import files
from helpers.als.ials import IALS, ExactALS


def save_model(path: str | Path, model: Any, manifest: dict[str, Any]) -> None:
    """Write a fitted implicit model as ``.npz`` (no pickle), whole or not at all.

    Parameters
    ----------
    path : path ending in ``.npz``
    model : implicit model with factors
    manifest : dict
        Data checksum and parameters that the model comes from.

    Raises
    ------
    ValueError
        If the model is not fitted.

    Notes
    -----
    The file holds what implicit's own ``save`` writes, so ``AlternatingLeastSquares.load`` reads
    it, too.
    """
    if model.user_factors is None:
        raise ValueError("model is not fitted, there is nothing to save; call fit first")
    buffer = io.BytesIO()
    model.save(buffer)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    files.write_arrays(Path(path), arrays, manifest | {"model": type(model).__name__})


def load_model(path: str | Path) -> AlternatingLeastSquares:
    """Read a model that :func:`save_model` wrote.

    Returns
    -------
    AlternatingLeastSquares, ExactALS or IALS, whichever was saved; ready to recommend

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If it is damaged or holds no model.
    """
    arrays, manifest = files.read_arrays(Path(path))
    if not {"user_factors", "item_factors"} <= set(arrays):
        raise ValueError(f"{path} holds no model: it lacks user_factors or item_factors")
    ours = {"IALS": IALS, "ExactALS": ExactALS}
    cls = ours.get(manifest.get("model", ""), AlternatingLeastSquares)
    model = cls.load(str(path))
    del model.manifest  # implicit makes an attribute of every array in the file
    return model
