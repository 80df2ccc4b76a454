"""What is written stands there whole or not at all, whatever goes wrong."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from helpers import files
from helpers.results import Result, write_results


def fail_in_the_middle(path):
    with files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in the middle")


def fill_the_device(path):
    with files.atomic(path) as temporary, open("/dev/full", "w") as device:  # noqa: PTH123
        temporary.write_text("half")
        device.write("x" * 10)
        device.flush()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"new": float("nan")})
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle(path)
    assert files.read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    files.write_arrays(path, {"x": np.arange(3)}, {"run": 1})

    def full(file, **arrays):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"could not write .*a\.npz \(No space left.*free some disk"):
        files.write_arrays(path, {"x": np.arange(4)}, {"run": 2})
    monkeypatch.undo()
    arrays, manifest = files.read_arrays(path)
    assert (arrays["x"].tolist(), manifest["run"]) == ([0, 1, 2], 1)
    assert files.manifest(path)["versions"]["numpy"] == np.__version__
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is a Linux device")
def test_a_really_full_device_is_a_clear_error(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(OSError, match="free some disk space"):
        fill_the_device(path)
    assert path.read_text() == "old"


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="make the folder writable"):
        files.write_text(tmp_path / "file" / "a.txt", "text")


def test_killed_in_the_middle_of_a_save_the_old_file_stands(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom helpers import files\n"
        "with files.atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    time.sleep(0.01)
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert path.read_text() == "new"


def test_a_frame_carries_its_manifest(tmp_path):
    frame = pd.DataFrame({"id": ["ä", "b"], "x": [1.5, 2.0]})
    files.write_frame(tmp_path / "a.parquet", frame, {"data_sha256": "abc"})
    back = files.read_frame(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs["manifest"] == {"data_sha256": "abc", "versions": files.VERSIONS}
    assert frame.attrs == {}
    with pytest.raises(FileNotFoundError, match="run the notebooks in order"):
        files.read_frame(tmp_path / "b.parquet")


def test_python_objects_are_not_pickled(tmp_path):
    with pytest.raises(ValueError, match="'ids' has dtype object"):
        files.write_arrays(tmp_path / "a.npz", {"ids": np.array(["a", 1], dtype=object)}, {})
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        files.write_arrays(tmp_path / "a", {"x": np.arange(3)}, {})
    assert not list(tmp_path.iterdir())


def test_results_are_written_with_their_meaning(tmp_path, monkeypatch):
    monkeypatch.delenv("PORTFOLIO_REPORTS", raising=False)
    results = [Result("hit rate", 0.123456789, "of users", "0.123", (0.1, 0.15), headline=True)]
    where = {"dataset": "d", "data_sha256": "s", "parameters": {"k": 10}}
    path = write_results(tmp_path, "03_x", results, **where)
    assert path == tmp_path / "results" / "03_x.json"
    content = files.read_json(path)
    assert content["results"][0] == {
        "metric": "hit rate", "value": 0.123456789, "definition": "of users", "shown": "0.123",
        "interval": [0.1, 0.15], "headline": True,
    }  # fmt: skip
    assert content["parameters"] == {"k": 10}
    monkeypatch.setenv("PORTFOLIO_REPORTS", str(tmp_path / "elsewhere"))
    assert write_results(tmp_path, "03_x", results, **where).is_relative_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"\['hit rate'\] twice"):
        write_results(tmp_path, "03_x", results * 2, **where)
