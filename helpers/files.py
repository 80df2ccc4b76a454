"""Files written whole or not at all, and the checksums that identify their content."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

VERSIONS = {name: version(name) for name in ("implicit", "numpy", "pandas", "scipy")}
"""Of the libraries that the content of a file may depend on; part of every manifest."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Parameters
    ----------
    path : Path
        An existing file of any size; it is read in blocks.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    The reader of ``path`` sees the old content or the new, never a part: the block writes the
    temporary file, which is flushed to disk and renamed. When the block raises (a full disk, a
    wrong value, an interrupt) the temporary file is removed and ``path`` is as it was.

    Parameters
    ----------
    path : Path
        Where the file shall be; missing folders are made.

    Yields
    ------
    Path
        The temporary path, with the same suffix (some writers choose their format by it).

    Raises
    ------
    OSError
        If the folder cannot be written; the message names the file and the fix.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"could not write {path} ({error.strerror or error}); nothing was changed: "
            "make the folder writable or free some disk space, then run again",
        ) from error
    finally:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file with Unix line ends, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted-as-given keys, two spaces of indent and a final newline.

    Raises
    ------
    ValueError
        If a number is NaN or infinite, which JSON cannot hold.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_frame(path: Path, frame: pd.DataFrame, manifest: dict[str, Any]) -> None:
    """Write a frame as Parquet with its manifest inside the file.

    Parameters
    ----------
    path : Path
        Target, usually under ``data/processed/<dataset>/``.
    frame : DataFrame
        What to store; its index is not kept.
    manifest : dict
        Where the content comes from (data checksum, parameters); :func:`read_frame` gives it back
        in ``frame.attrs["manifest"]``.
    """
    stored = frame.copy(deep=False)
    stored.attrs = {"manifest": manifest | {"versions": VERSIONS}}
    with atomic(path) as temporary:
        stored.to_parquet(temporary, index=False)


def read_frame(path: Path) -> pd.DataFrame:
    """A frame written by :func:`write_frame`; the manifest is in ``attrs["manifest"]``.

    Raises
    ------
    FileNotFoundError
        If the file is not there; the message says which step writes it.
    """
    return pd.read_parquet(existing(path))


def write_arrays(path: Path, arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
    """Write named arrays and a manifest as one compressed ``.npz`` file without pickles.

    Raises
    ------
    ValueError
        If an array holds Python objects, which only a pickle could store, or the path does not
        end in ``.npz``.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(
                f"array {name!r} has dtype object, which .npz can only store as a pickle; "
                "convert it to numbers or to fixed-width text first"
            )
    if Path(path).suffix != ".npz":
        raise ValueError(f"{path} must end in .npz, which NumPy would append anyway")
    text = json.dumps(manifest | {"versions": VERSIONS}, ensure_ascii=False, allow_nan=False)
    with atomic(path) as temporary:
        np.savez_compressed(temporary, manifest=np.array(text), **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the manifest of a file written by :func:`write_arrays`.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file is cut or no such archive.
    """
    try:
        with np.load(existing(path), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        manifest = json.loads(str(arrays.pop("manifest")))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or not written by this project ({error}); delete it and run again"
        ) from error
    return arrays, manifest


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a file written by :func:`write_arrays`."""
    return read_arrays(path)[1]


def existing(path: Path) -> Path:
    """The path itself, if the file exists.

    Raises
    ------
    FileNotFoundError
        With the fix: run the earlier notebooks first.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} does not exist; an earlier notebook writes it: run the notebooks in order, "
            "or all of them with `make run`"
        )
    return Path(path)
