"""The Echo Nest Taste Profile of the Million Song Dataset, and synthetic logs like it."""

import hashlib
import sys
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from helpers import io
from helpers.datasets.shapes import RawLog
from helpers.io import DatasetError

NAME = "million-song"
DESCRIPTION = (
    "Million Song (Echo Nest Taste Profile): 48,373,586 play counts of 384,546 songs by 1,019,318 "
    "users, without times; for research. Made for helpers.spark; anything else needs a machine "
    "with much memory."
)
N_ROWS, N_USERS, N_SONGS = 48_373_586, 1_019_318, 384_546
ORIGIN = "http://millionsongdataset.com/tasteprofile/"
MEMBER, ARCHIVE, FILE = "train_triplets.txt", "train_triplets.txt.zip", "triplets.parquet"
ADDRESSES = (
    f"http://millionsongdataset.com/sites/default/files/challenge/{ARCHIVE}",
    f"http://labrosa.ee.columbia.edu/millionsong/sites/default/files/challenge/{ARCHIVE}",
)
MD5 = "fadbc813c11881b3147af3c26006335f"
"""Of the archive, from the code of a study that used it (eldrin/MTLMusicRepresentation-PyTorch on
GitHub); no checksum of its publisher was found."""

SCHEMA = pa.schema({"user_id": pa.string(), "item_id": pa.string(), "value": pa.int32()})
CHUNK, BLOCK = 1 << 16, 1 << 25
"""Bytes that are downloaded at a time; bytes of text that become a row group."""


def raw(data_dir: Path) -> RawLog:
    """The log as Parquet, fetched where it is not there and verified each time."""
    folder = data_dir / "raw" / NAME
    if not (folder / "source.json").is_file():
        with io.writing(folder):
            _fetch(folder)
    digest = io.read_json(folder / "source.json")["sha256"]
    io.fetch(folder, (), {FILE: digest})  # it is there: only verified
    return RawLog(
        name=NAME,
        description=DESCRIPTION,
        origin=ORIGIN,
        source=folder / FILE,
        sha256=digest,
        dirty=False,
    )


def _fetch(folder: Path) -> None:
    """Make the folder from the archive that was put beside it by hand, or from a download."""
    archive = by_hand = folder.parent / ARCHIVE
    fix = f"delete {by_hand}, which was put there by hand, and run again"
    if not by_hand.is_file():
        archive, fix = by_hand.with_suffix(".zip.part"), "it was deleted: run again"
        _download(archive)
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != MD5:
        if archive != by_hand:
            archive.unlink()  # else the next run would go on from it
        raise DatasetError(f"{ARCHIVE} has wrong content: expected md5 {MD5}, got {found}; {fix}")
    with io.replaced_folder(folder) as draft:
        to_parquet(archive, draft / FILE)
        made = {"source": ORIGIN, "sha256": io.sha256(draft / FILE)}
        io.write_json(draft / "source.json", made)
    if archive != by_hand:
        archive.unlink()


def _download(part: Path) -> None:
    """Download what a file lacks; cut off, it stays, and the next call goes on from its last chunk.

    (pooch begins anew.) Whether the pieces fit together is known by the checksum of the whole.
    """
    import requests  # only a first run needs it

    reasons = []
    part.parent.mkdir(parents=True, exist_ok=True)
    for address in ADDRESSES:
        try:
            with part.open("ab") as file:
                start = file.tell()
                print(f"{NAME}: {address}, from byte {start:,}", file=sys.stderr)
                headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"}
                with requests.get(
                    address, headers=headers, stream=True, timeout=io.TIMEOUT
                ) as answer:
                    if start and answer.status_code == 416:  # nothing is left to send
                        return
                    answer.raise_for_status()
                    if "html" in answer.headers.get("Content-Type", ""):
                        raise requests.RequestException("it sent a web page, not the archive")
                    if answer.status_code != 206:  # a server that knows no ranges sends all
                        file.truncate(0)
                    for block in answer.iter_content(CHUNK):
                        file.write(block)
            return
        except requests.RequestException as error:
            reasons.append(f"{address}: {error}")
    raise DatasetError(
        "\n  - ".join([f"{NAME} could not be fetched from any of its addresses:", *reasons])
        + f"\nRun again to go on from {part.stat().st_size:,} bytes, or put the archive into "
        f"{part.parent} by hand."
    )


def to_parquet(archive: Path, path: Path) -> None:
    """Write the archive's lines (user, song, plays) as Parquet, some at a time, not unpacked."""
    options = {
        "read_options": csv.ReadOptions(column_names=SCHEMA.names, block_size=BLOCK),
        "parse_options": csv.ParseOptions(delimiter="\t", quote_char=False),
        "convert_options": csv.ConvertOptions(column_types=SCHEMA, null_values=[]),
    }
    try:
        with (
            ZipFile(archive) as opened,
            opened.open(MEMBER) as text,
            csv.open_csv(text, **options) as batches,
            parquet.ParquetWriter(path, SCHEMA) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
    except (BadZipFile, zlib.error, EOFError, KeyError, pa.ArrowInvalid) as error:
        raise DatasetError(
            f"{archive.name} is damaged or not the published one ({error}); delete {archive} and "
            "run again"
        ) from error


def synthesize(path: Path, n_rows: int, seed: int = 0) -> None:
    """Write a synthetic log with the columns and the growth of the real one, as Parquet.

    Users grow as the rows do and songs as their square root (Heaps' law); at 48,373,586 rows both
    are as many as in the real log. Songs are drawn with probability ``1 / (rank + 50)``, so that
    the first has a tenth of the users, and each is in the log; activity is a power law of exponent
    1.5. No pair is there twice, and there are no tastes: it is for time and memory, not quality.
    The rows depend on ``n_rows`` and ``seed`` alone. A million rows are held in memory at a time.
    """
    if n_rows < 10_000:
        raise ValueError(f"n_rows is {n_rows}, expected 10,000 or more")
    rng = np.random.default_rng(seed)
    n_users = round(N_USERS * n_rows / N_ROWS)
    n_songs = round(N_SONGS * (n_rows / N_ROWS) ** 0.5)
    # Song s is first heard by user s modulo n_users; the other rows are spread by activity.
    first = np.arange(n_songs) % n_users
    activity = np.cumsum((1 - 0.999 * rng.random(n_users)) ** (-2 / 3))
    ends = np.rint(activity / activity[-1] * (n_rows - n_songs)).astype(np.int64)
    counts = np.diff(ends, prepend=0) + np.bincount(first, minlength=n_users)
    song_ids = pa.array([f"SO{_scattered(song):016X}" for song in range(n_songs)])
    blocks = np.searchsorted(np.cumsum(counts), np.arange(0, n_rows, 1_000_000))
    with io.atomic(path) as temporary, parquet.ParquetWriter(temporary, SCHEMA) as writer:
        for start, stop in zip(blocks, [*blocks[1:], n_users], strict=True):
            songs = np.flatnonzero((start <= first) & (first < stop))
            cells = np.sort((first[songs] - start) * n_songs + songs)
            while len(cells) < counts[start:stop].sum():
                missing = counts[start:stop] - np.bincount(cells // n_songs, minlength=stop - start)
                users = np.repeat(np.arange(stop - start), missing)
                songs = 50 * ((n_songs + 50) / 50) ** rng.random(len(users)) - 50
                cells = np.concatenate([cells, users * n_songs + songs.astype(np.int64)])
                cells.sort()
                cells = cells[np.diff(cells, prepend=-1) > 0]  # a pair that was there is drawn anew
            users, songs = np.divmod(cells, n_songs)
            user_ids = pa.array([f"{_scattered(user):040x}" for user in range(start, stop)])
            plays = np.minimum(rng.zipf(2.3, len(cells)), 10_000).astype(np.int32)
            ids = (user_ids.take(pa.array(users)), song_ids.take(pa.array(songs)))
            writer.write_table(pa.table([*ids, pa.array(plays)], SCHEMA))


def _scattered(number: int) -> int:
    """Another number below 2**64 for each, so that neither popularity nor activity sorts ids."""
    return number * 0x9E3779B97F4A7C15 % (1 << 64)
