"""The Million Song log: its loader on files of its format from a server here, and synthetic logs.

The real archive (500 MB) has never been read by these tests.
"""

import hashlib
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from helpers import __main__ as cli
from helpers import datasets
from helpers.datasets import million_song
from helpers.io import DatasetError

USERS = [f"{number:040x}" for number in (11, 7, 900)]
SONGS = ["SOAKIMP12A8C130995", "SOAPDEY12A81C210A9", "SOBBMDR12A8C13253B"]
ROWS = [(USERS[0], SONGS[0], 1), (USERS[0], SONGS[2], 12), (USERS[1], SONGS[0], 3)]
TEXT = "".join(f"{user}\t{song}\t{plays}\n" for user, song, plays in ROWS)


def archive(text: str = TEXT, member: str = "train_triplets.txt") -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr(member, text)
    return content.getvalue()


class Server:
    """Serves an archive, or a part of it; it can break off, know no ranges, or have nothing."""

    def __init__(self) -> None:
        self.body, self.breaks_after, self.knows_ranges, self.asked = archive(), 0, True, []
        self.kind = "application/zip"
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        start = int(re.fullmatch(r"bytes=(\d+)-", request.headers["Range"])[1])
        self.asked.append(start)
        if not self.body or (self.knows_ranges and start >= len(self.body)):
            request.send_error(416 if self.body else 404)
            return
        left = self.body[start:] if self.knows_ranges else self.body
        request.send_response(206 if self.knows_ranges else 200)
        request.send_header("Content-Length", str(len(left)))
        request.send_header("Content-Type", self.kind)
        request.end_headers()
        request.wfile.write(left[: self.breaks_after or None])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    address = f"http://127.0.0.1:{server.http.server_port}/train_triplets.txt.zip"
    monkeypatch.setattr(million_song, "ADDRESSES", (address,))
    monkeypatch.setattr(million_song, "CHUNK", 10)
    monkeypatch.setattr(million_song, "MD5", hashlib.md5(server.body).hexdigest())
    yield server
    server.http.shutdown()
    server.http.server_close()


def files(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "raw").rglob("*") if path.is_file())


# --- the loader -------------------------------------------------------------------------------


def test_the_log_is_loaded(server: Server, tmp_path: Path) -> None:
    data = datasets.load("million-song", data_dir=tmp_path)
    frame = data.interactions
    assert list(map(tuple, frame.to_numpy())) == ROWS
    assert frame.dtypes.astype(str).to_dict() == {
        "user_id": "str", "item_id": "str", "value": "float64",
    }  # fmt: skip
    assert data.items["item_id"].tolist() == [SONGS[0], SONGS[2]]
    assert (data.name, data.notes) == ("million-song", ["The log has no times."])
    assert files(tmp_path) == ["source.json", "triplets.parquet"]
    content = (tmp_path / "raw" / "million-song" / "triplets.parquet").read_bytes()
    assert data.sha256 == hashlib.sha256(content).hexdigest()
    # What is there is not asked for again.
    assert datasets.raw_log("million-song", data_dir=tmp_path).sha256 == data.sha256
    assert server.asked == [0]


def test_a_download_that_is_cut_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.breaks_after = 105  # ten whole chunks
    for received in (100, 200):
        with pytest.raises(DatasetError, match=f"Run again to go on from {received} bytes"):
            datasets.raw_log("million-song", data_dir=tmp_path)
        part = (tmp_path / "raw" / "train_triplets.txt.zip.part").read_bytes()
        assert part == server.body[:received]
    server.breaks_after = 0
    datasets.raw_log("million-song", data_dir=tmp_path)
    assert server.asked == [0, 100, 200]
    assert files(tmp_path) == ["source.json", "triplets.parquet"]


def test_the_next_address_goes_on_where_the_first_broke_off(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(million_song, "ADDRESSES", 4 * million_song.ADDRESSES)
    server.breaks_after = 110
    datasets.raw_log("million-song", data_dir=tmp_path)
    assert server.asked == [0, *(n * server.breaks_after for n in range(1, len(server.asked)))]


def test_a_whole_download_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    """As after a kill between the download and the conversion."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train_triplets.txt.zip.part").write_bytes(server.body)
    datasets.raw_log("million-song", data_dir=tmp_path)
    assert server.asked == [len(server.body)]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train_triplets.txt.zip.part").write_bytes(server.body[:50])
    server.knows_ranges = False
    datasets.raw_log("million-song", data_dir=tmp_path)
    assert files(tmp_path) == ["source.json", "triplets.parquet"]


def test_a_web_page_replaces_no_part_that_was_received(server: Server, tmp_path: Path) -> None:
    """As a network sends it that asks for a password first."""
    part = tmp_path / "raw" / "train_triplets.txt.zip.part"
    part.parent.mkdir()
    part.write_bytes(server.body[:50])
    server.knows_ranges, server.kind = False, "text/html; charset=utf-8"
    with pytest.raises(DatasetError, match=r"web page[\s\S]*go on from 50 bytes"):
        datasets.load("million-song", data_dir=tmp_path)
    assert part.read_bytes() == server.body[:50]


def test_wrong_content_is_refused_and_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train_triplets.txt.zip.part").write_bytes(b"of another file")
    with pytest.raises(DatasetError, match=r"expected md5 .*, got .*; it was deleted: run again"):
        datasets.raw_log("million-song", data_dir=tmp_path)
    assert files(tmp_path) == []
    datasets.raw_log("million-song", data_dir=tmp_path)
    assert server.asked == [15, 0]


def test_a_server_that_has_nothing(server: Server, tmp_path: Path) -> None:
    server.body = b""
    with pytest.raises(DatasetError, match=r"any of its addresses:\n.*404.*\n.* by hand"):
        datasets.load("million-song", data_dir=tmp_path)


def test_an_archive_put_by_hand(server: Server, tmp_path: Path) -> None:
    by_hand = tmp_path / "raw" / "train_triplets.txt.zip"
    by_hand.parent.mkdir()
    by_hand.write_bytes(server.body[:-1])
    with pytest.raises(DatasetError, match=r"expected md5 .*delete .*zip, which was put there by"):
        datasets.raw_log("million-song", data_dir=tmp_path)
    by_hand.write_bytes(server.body)
    datasets.raw_log("million-song", data_dir=tmp_path)
    assert server.asked == []
    assert by_hand.exists(), "the user's file is not ours to remove"


def test_a_stored_log_that_was_changed_is_never_used(server: Server, tmp_path: Path) -> None:
    datasets.raw_log("million-song", data_dir=tmp_path)
    with (tmp_path / "raw" / "million-song" / "triplets.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DatasetError, match=r"triplets.parquet is damaged .*delete the folder"):
        datasets.load("million-song", data_dir=tmp_path)


BROKEN = archive().replace(b"\t12\n", b"\t13\n")  # the checksum of the member is that of 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (archive()[:-30], "not a zip file"),
        (BROKEN, "Bad CRC-32"),
        (archive(member="readme.txt"), "no item named 'train_triplets.txt'"),
        (archive(TEXT + "only one field\n"), "Expected 3 columns, got 1"),
        (archive(TEXT + f"{USERS[2]}\t{SONGS[1]}\t2\t9\n"), "Expected 3 columns, got 4"),
        (archive(TEXT + f"{USERS[2]}\t{SONGS[1]}\tmany\n"), "invalid value 'many'"),
        (archive(TEXT + f"{USERS[2]}\t{SONGS[1]}\t\n"), "invalid value ''"),
        (archive(""), "Empty CSV file"),
    ],
)
def test_damaged_archives_are_refused(
    content: bytes, reason: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their checksum, and also where the fault lies behind the first block."""
    monkeypatch.setattr(million_song, "BLOCK", 64)
    monkeypatch.setattr(million_song, "MD5", hashlib.md5(content).hexdigest())
    server.body = content
    with pytest.raises(DatasetError, match=f"is damaged or not the published.*{reason}.*delete"):
        datasets.raw_log("million-song", data_dir=tmp_path)
    assert files(tmp_path) == ["train_triplets.txt.zip.part"]


def test_blocks_become_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(million_song, "BLOCK", 100)
    (tmp_path / "a.zip").write_bytes(archive(100 * TEXT))
    million_song.to_parquet(tmp_path / "a.zip", tmp_path / "a.parquet")
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups > 100
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert list(map(tuple, frame.to_numpy())) == 100 * ROWS


# --- synthetic logs ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "log.parquet"
    assert cli.main(["synthesize", "--rows", "1200000", "--to", str(path)]) == 0
    return path


def test_counts_are_as_the_rule_says(synthetic: Path) -> None:
    frame, share = pd.read_parquet(synthetic), 1_200_000 / 48_373_586
    assert len(frame) == 1_200_000
    assert frame["user_id"].nunique() == round(1_019_318 * share)
    assert frame["item_id"].nunique() == round(384_546 * share**0.5)
    assert not frame.duplicated(["user_id", "item_id"]).any()
    assert frame["user_id"].str.fullmatch("[0-9a-f]{40}").all()
    assert frame["item_id"].str.fullmatch("SO[0-9A-F]{16}").all()
    assert frame["value"].min() == 1
    assert parquet.ParquetFile(synthetic).num_row_groups == 2


def test_tails_are_power_laws(synthetic: Path) -> None:
    frame = pd.read_parquet(synthetic)
    songs = frame["item_id"].value_counts().to_numpy()
    assert songs[0] / frame["user_id"].nunique() == pytest.approx(0.1, rel=0.2)
    ranks = np.arange(200, 10_000)
    slope, _ = np.polyfit(np.log(ranks + 50), np.log(songs[ranks]), 1)
    assert slope == pytest.approx(-1, abs=0.1)
    # Of the users with so many songs, 2 ** -1.5 have twice as many.
    activity = frame["user_id"].value_counts().to_numpy() - len(songs) / 25_286
    shares = [(activity >= 2 * many).mean() / (activity >= many).mean() for many in (40, 80, 160)]
    assert shares == pytest.approx([2**-1.5] * 3, rel=0.1)
    # Neither popularity nor activity can be read from the ids.
    ranked = frame["item_id"].value_counts().sort_index().to_numpy()
    assert abs(np.corrcoef(np.arange(len(ranked)), ranked)[0, 1]) < 0.02


def test_a_seed_decides_the_file(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet")]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        million_song.synthesize(path, 20_000, seed)
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same != other
    assert not pd.read_parquet(paths[2])["item_id"].empty


def test_a_synthetic_log_is_a_log(tmp_path: Path) -> None:
    million_song.synthesize(tmp_path / "log.parquet", 10_000)
    assert len(datasets.load(tmp_path / "log.parquet").interactions) == 10_000


def test_too_few_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.parquet"
    assert cli.main(["synthesize", "--rows", "9999", "--to", str(path)]) == 1
    assert "n_rows is 9999, expected 10,000 or more" in capsys.readouterr().err
    assert not path.exists()
