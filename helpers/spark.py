"""Scaling out: Apache Spark's ALS on a cluster, from a log to the lists that serving loads.

``pip install "helpers[spark]"`` brings pyspark; Java 17 or newer must be there besides. Cleaning
stays with :mod:`helpers.cleaning`; what is here needs only what grows with the cluster, so nothing
brings a whole data set to the driver.

The course's 192 models, each fitted on three folds, resumable after any interruption::

    python -m helpers.spark movielens-100k results.jsonl
"""

import argparse
import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, reduce
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import datasets, io, production, tuning
from helpers.cleaning.columns import LOG_ROLES, NULLS, resolve_columns
from helpers.cleaning.schema import LARGEST, NOBODY

try:
    from py4j.protocol import Py4JJavaError
    from pyspark import SparkContext
    from pyspark.errors import PySparkException
    from pyspark.ml.evaluation import Evaluator
    from pyspark.ml.recommendation import ALS, ALSModel
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql import functions as F  # noqa: N812
except ModuleNotFoundError as error:
    how = f'{error.name} is not installed: run `make`, or pip install "helpers[spark]"'
    raise ModuleNotFoundError(how, name=error.name) from error

JAVA = 17  # the oldest that Spark runs on

# The 192 models of the PySpark course project.
GRID: dict[str, list[float]] = {"rank": [10, 20, 30, 40], "maxIter": [10, 20, 30, 40]}
GRID |= {"regParam": [0.05, 0.1, 0.15], "alpha": [20, 40, 60, 80]}

_NAMES = {
    "Spark": ("rank", "maxIter", "regParam", "alpha"),
    "implicit": ("factors", "iterations", "regularization", "alpha"),
    "IALS": ("factors", "iterations", "regularization", "unobserved_weight"),
}


class SparkError(ValueError):
    """Spark cannot run, or not on this; the message says what to do."""


def session(
    master: str = "local[*]", memory: str = "1g", *,
    checkpoints: str | None = None, config: Mapping[str, str] | None = None,
) -> SparkSession:  # fmt: skip
    """Start Spark, or join a cluster; ``stop()`` of the result ends it.

    Parameters
    ----------
    master : str
        ``local[*]`` (all cores of this machine), ``spark://host:7077``, ``k8s://https://host``
        or ``yarn``.
    memory : str
        Of the driver, which in local mode is all there is.
    checkpoints : str, optional
        Folder for intermediate results, which a cluster must share: ``hdfs://...``, ``s3a://...``.
        In local mode a temporary one where none is given.
    config : mapping of str to str, optional
        Further settings, such as ``{"spark.executor.memory": "4g"}``.

    Returns
    -------
    SparkSession
        Times are in UTC. What the JVM writes to its standard error goes to the file
        ``spark.log`` in a temporary folder, which the setting ``spark.helpers.log`` names.

    Raises
    ------
    SparkError
        If there is no Java, or an old one; if a cluster got no ``checkpoints``; if a session with
        another master runs already; or if Spark does not start.
    """
    _check_java()
    is_local = master.startswith("local")
    if (running := SparkContext._active_spark_context) and running.master != master:
        raise SparkError(f"a session on {running.master!r} runs already; call its stop() first")
    if checkpoints is None and not is_local:
        raise SparkError(f"checkpoints is None: {master!r} needs a folder that its machines share")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if is_local:  # else the host name decides, which may not lead back to this machine
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    work = _work()
    said = work / "spark.log"
    settings: dict[str, bool | float | int | str | None] = {
        "spark.driver.memory": memory, "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC", "spark.sql.legacy.parquet.nanosAsLong": "true",
        "spark.helpers.log": str(said), **(config or {}),
    }  # fmt: skip
    # A notebook's output is free of it; what is used here is tested with pandas 3.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    before = os.dup(2)
    try:
        with said.open("a") as log:  # what starts meanwhile writes there for all its life
            os.dup2(log.fileno(), 2)
        started = SparkSession.builder.master(master).config(map=settings).getOrCreate()
    except Exception as error:
        last = said.read_text(errors="replace").strip()[-1_000:]
        raise SparkError(f"Spark did not start on {master!r} ({error}); it said: {last}") from error
    finally:
        os.dup2(before, 2)
        os.close(before)
    started.sparkContext.setCheckpointDir(checkpoints or str(work / "checkpoints"))
    return started


@cache
def _work() -> Path:
    """A temporary folder of this process: the JVM writes to the same log in all its sessions."""
    work = Path(tempfile.mkdtemp(prefix="spark-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    return work


def _check_java() -> None:
    """Refuse to go on without Java: Spark itself would say that a gateway exited."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin")) if home else None)
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found[1]) < JAVA:
        raise SparkError(
            f"Spark needs Java {JAVA} or newer and found {found[1] if found else 'none'} "
            f"(JAVA_HOME is {home!r}, java is {java!r}). Install it. Debian: "
            f"sudo apt install openjdk-{JAVA}-jre-headless; macOS: brew install openjdk@{JAVA}; "
            f"conda: conda install -c conda-forge openjdk={JAVA}. Or set JAVA_HOME to its folder"
        )


@dataclass(frozen=True, eq=False)
class Log:
    """A log on the cluster, with numbers for ids.

    Attributes
    ----------
    rows : DataFrame of Spark
        ``user``, ``item`` (int32), ``value`` (double) and, where known, ``timestamp``.
    users, items : DataFrame of Spark
        The number and the id of each: ``user``, ``user_id``; ``item``, ``item_id``. Numbers are
        dense, from 0, in the order of the ids, as in :class:`helpers.interactions.Interactions`.
    removed : dict of str to int
        Rows that were left out, by reason.
    """

    rows: DataFrame
    users: DataFrame
    items: DataFrame
    removed: dict[str, int]


def read(
    session: SparkSession, path: str, columns: Mapping[str, str] | None = None, *,
    excluded: Collection[str] = (), keep_duplicates: bool = False,
) -> Log:  # fmt: skip
    """Read a log from where all machines of the cluster can read it.

    Parameters
    ----------
    session : SparkSession
    path : str
        CSV or TSV with a header (also gzipped) if ``.csv`` or ``.tsv`` is in its name, else
        Parquet, such as ``clean.parquet`` of :func:`helpers.cleaning.clean`; a file or a folder.
    columns : mapping of role to column name, optional
        For ``user``, ``item``, ``value``, ``timestamp``; else the usual names. Without a value,
        each row counts 1.
    excluded : collection of str
        User ids of known crawlers and staff.
    keep_duplicates : bool
        Whether equal rows stay, for logs that know the day only, where two purchases may be equal.

    Returns
    -------
    Log

    Raises
    ------
    DatasetError
        If the path cannot be read, a column is missing, or no row is left.

    Notes
    -----
    Rows that cannot be read, have no user or item, are of an excluded account, or are equal to
    another row in every column of the file are left out, under the first of these reasons, with
    the counts of :func:`helpers.cleaning.clean`. Values are plain numbers here, and times numbers
    or ISO 8601; other forms (``2,5``, ``31.5.2024``) are for `clean`, whose Parquet is read as is.

    ``StringIndexer`` would bring all ids to the driver. Here ids are sorted on the cluster,
    numbered within each part, and each part is moved up by the sizes of those before: what
    ``zipWithIndex`` does, without Python.
    """
    roles = {role: LOG_ROLES[role] for role in ("user", "item", "value", "timestamp")}
    try:
        kind = "csv" if re.search(r"\.[ct]sv\b", path) else "parquet"
        separator = "\t" if ".tsv" in path else ","
        raw = session.read.load(path, kind, header=True, escape='"', sep=separator)
        column = resolve_columns(raw.columns, columns or {}, roles=roles)
    except (PySparkException, Py4JJavaError, io.DatasetError) as error:
        why = str(error).partition("\n\tat ")[0]
        raise io.DatasetError(f"{path}: {why}") from error
    kinds = dict(raw.dtypes)
    text = {role: _text(raw[f"`{name}`"], kinds[name]) for role, name in column.items()}
    typed = {"value": text["value"].try_cast("double") if "value" in text else F.lit(1.0)}
    for role in ("user", "item"):  # a whole number that was stored as a float loses its .0
        typed[f"{role}_id"] = F.regexp_replace(text[role], r"^(-?\d+)\.0+$", "$1")
    unreadable = F.coalesce(F.abs("value") > LARGEST, F.lit(True))
    if "timestamp" in text:
        typed["timestamp"] = _moment(text["timestamp"])
        unreadable |= F.col("timestamp").isNull()
    # The row as it is in the file says what equal rows are.
    rows = raw.select(F.struct("*").alias("raw"), *(typed[name].alias(name) for name in typed))
    # 0 is nobody, but where users are numbered from 0 on; see the rules of helpers.cleaning.
    numbered = rows.selectExpr("bool_or(user_id = '1') AND bool_or(user_id = '2')").first()
    nobody = NOBODY if numbered and numbered[0] else {*NOBODY, "0"}
    user = F.col("user_id")
    reasons = {
        "unreadable": unreadable,
        "missing user": user.isNull() | F.lower(user).isin(*nobody),
        "missing item": F.col("item_id").isNull(),
        "excluded accounts": user.isin(*map(str, excluded)),
    }
    reason = F.coalesce(*(F.when(hit, name) for name, hit in reasons.items()), F.lit("kept"))
    counts = {row[0]: row[1] for row in rows.groupBy(reason).count().collect()}
    kept = rows.where(reason == "kept")
    kept = (kept if keep_duplicates else kept.dropDuplicates(["raw"])).drop("raw").persist()
    counts["duplicates"] = counts.get("kept", 0) - kept.count()
    removed = {name: counts.get(name, 0) for name in (*reasons, "duplicates")}
    if "kept" not in counts:
        raise io.DatasetError(f"{path}: no row is left; {removed}; correct the columns")
    users, items = _numbered(kept, "user"), _numbered(kept, "item")
    # Written down, so that a lost machine costs no reading.
    log = kept.join(users, "user_id").join(items, "item_id").drop("user_id", "item_id").checkpoint()
    kept.unpersist()
    return Log(log, users, items, removed)


def _text(column: Column, kind: str) -> Column:
    """A column as text without blanks around it; NULL for words that mean nothing is here."""
    text = column.cast("string")
    if kind in ("double", "float"):  # else 12345678.0 would be 1.2345678E7
        whole = column.try_cast("decimal(38,0)").cast("string")
        text = F.when(column % 1 == 0, whole).otherwise(text)
    text = F.btrim(text, F.lit(" \t\r\n\xa0\ufeff"))
    return F.when(~F.lower(text).isin(*NULLS), text)


def _moment(text: Column) -> Column:
    """Seconds, milli-, micro- or nanoseconds since 1970, 20240531, or a date and time."""
    day = F.when(text.rlike(r"^(19|20)\d{6}$"), F.try_to_timestamp(text, F.lit("yyyyMMdd")))
    number = text.try_cast("double")
    for largest in (1e17, 1e14, 1e11):
        number = F.when(F.abs(number) > largest, number / 1_000).otherwise(number)
    moment = F.coalesce(day, F.timestamp_seconds(number), F.try_to_timestamp(text))
    return F.when(~text.rlike(r"^(19|20)\d\d$"), moment)  # a year alone is none


def _numbered(rows: DataFrame, what: str) -> DataFrame:
    """The distinct ids in order, with numbers from 0."""
    ids = rows.select(f"{what}_id").distinct().sort(f"{what}_id")
    # Above its lowest 33 bits, this has the number of the part.
    ids = ids.selectExpr("*", "monotonically_increasing_id() AS place").checkpoint()
    sizes = ids.groupBy(F.expr("place >> 33 AS part")).count()  # one row a part
    moves = "part", "sum(count) OVER (ORDER BY part) - count - (part << 33) AS move"
    moved = ids.join(F.broadcast(sizes.selectExpr(*moves)), F.expr("place >> 33 = part"))
    return moved.selectExpr(f"int(place + move) AS {what}", f"{what}_id").checkpoint()


def pairs(rows: DataFrame) -> DataFrame:
    """One row for each user and item, its value the sum; to be split, so that no pair leaks."""
    return rows.groupBy("user", "item").agg(F.sum("value").alias("value"))


def estimator(**parameters: Any) -> ALS:
    """Spark's ALS for implicit feedback, such as for a ``CrossValidator``.

    ``sum_all c (p - s)^2 + regParam * (sum_u n_u |x_u|^2 + sum_i n_i |y_i|^2)`` with
    ``c = 1 + alpha r``, ``p = 1`` where ``r > 0`` else 0, and ``n`` the positive values of a row

    Parameters
    ----------
    **parameters
        Of ``pyspark.ml.recommendation.ALS``: ``rank``, ``maxIter``, ``regParam``, ``alpha``,
        ``seed``. Rows that are not known have no prediction, and every fifth round is a checkpoint,
        so that plans stay short and a lost machine costs few rounds. There are as many blocks as
        cores: with Spark's ten, starting tasks is most of the work on a small machine.
    """
    context = SparkContext._active_spark_context  # without one, ALS says so itself
    cores = context.defaultParallelism if context else 1
    defaults: dict[str, Any] = {"coldStartStrategy": "drop", "checkpointInterval": 5, "seed": 0}
    defaults |= {"numUserBlocks": cores, "numItemBlocks": cores, **parameters}
    return ALS(userCol="user", itemCol="item", ratingCol="value", implicitPrefs=True, **defaults)


def fit(rows: DataFrame, **parameters: Any) -> ALSModel:
    """Fit on a log's rows, its pairs summed; parameters of :func:`estimator`.

    A round ends with the users, solved in float64 and stored as float32. Machines that finish in
    another order add in another order. Stored as float32, the factors had the same bits in every
    trial, also where a machine was lost; that is no proof.
    """
    return estimator(**parameters).fit(pairs(rows))


def translate(
    settings: Mapping[str, float], source: str, target: str, *, n_cells: int, n_pairs: int
) -> dict[str, float]:
    r"""Settings of one engine for another, for binary data.

    Parameters
    ----------
    settings : mapping
        ``rank``, ``maxIter``, ``regParam``, ``alpha`` of "Spark"; ``factors``, ``iterations``,
        ``regularization`` and ``alpha`` of "implicit", ``unobserved_weight`` of "IALS" (``nu=1``).
    source, target : {"Spark", "implicit", "IALS"}
    n_cells, n_pairs : int
        Users times items, and how many of these cells are observed.

    Returns
    -------
    dict

    Raises
    ------
    SparkError
        If an observed cell weighs no more than another one, which Spark and IALS cannot express.

    Notes
    -----
    Let an unobserved cell weigh 1 and an observed one ``c``, and let ``P`` be the penalty of a row
    with ``n`` positives, ``m`` the length of the row (``n_items`` for a user).

    - implicit: ``c = alpha``, ``P = regularization``.
    - Spark: ``c = 1 + alpha``, ``P = regParam n``.
    - IALS, with ``a`` for ``unobserved_weight``: ``(1-s)^2 + a s^2 = (1+a) (t-s)^2 + constant``
      with ``t = 1/(1+a)``. In units of ``a`` and with ``s = t s'``: ``c = 1 + 1/a``,
      ``P = c regularization (n + a m)``. Its scores are those of the others times ``t``.

    So the weights ``c`` translate exactly, IALS up to the scale of the scores. The penalties do
    not: one is constant, one grows with ``n``, one is between. As ``X g`` and ``Y / g`` have the
    same scores, only the product of the two sides' penalties counts where all rows of a side have
    equal ``n``; this product is kept, which then makes the minima the same. Else it is an
    approximation: Spark and IALS hold frequent rows down, implicit does not. For values ``r`` other
    than 1, ``1 + alpha r`` is implicit's matrix with ``alpha = 1``; IALS cannot express them, since
    its ``t`` would differ from cell to cell.

    Examples
    --------
    100 users and 400 items of 2,000 pairs: a user has 20, an item 5, and the geometric mean is 10.

    >>> spark = {"rank": 8, "maxIter": 10, "regParam": 0.1, "alpha": 40.0}
    >>> translate(spark, "Spark", "implicit", n_cells=40_000, n_pairs=2_000)
    {'factors': 8, 'iterations': 10, 'regularization': 1.0, 'alpha': 41.0}
    >>> ials = translate(spark, "Spark", "IALS", n_cells=40_000, n_pairs=2_000)
    >>> ials["unobserved_weight"], round(41 * ials["regularization"] * (10 + 0.025 * 200), 9)
    (0.025, 1.0)
    """
    if not {source, target} <= set(_NAMES):
        raise SparkError(f"{source!r} to {target!r}: expected two of {', '.join(_NAMES)}")
    rank, rounds, penalty, weight = (settings[name] for name in _NAMES[source])
    c = {"Spark": 1 + weight, "implicit": weight, "IALS": 1 + 1 / (weight or 1)}[source]
    if not (c > 1 and weight > 0):
        raise SparkError(f"{_NAMES[source][3]} is {weight}: an observed cell must weigh above 1")
    row = n_pairs / n_cells**0.5
    unit = {"Spark": row, "implicit": 1.0, "IALS": c * (row + n_cells**0.5 / (c - 1))}
    weights = {"Spark": c - 1, "implicit": c, "IALS": 1 / (c - 1)}
    found = (rank, rounds, penalty * unit[source] / unit[target], weights[target])
    return dict(zip(_NAMES[target], found, strict=True))


class ROEM(Evaluator):
    """Expected percentile rank: ``sum(value * rank) / sum(value)``; 0 is best, 0.5 is chance.

    The rank of a prediction is ``(higher ones + half of the ties) / (predictions - 1)`` within the
    user, so a constant predictor has 0.5; Spark's ``percent_rank`` would give ties the first place,
    and the constant predictor a perfect 0. Only the rows at hand are ranked, as in the course;
    Hu et al. (2008) rank the whole catalogue, as :func:`helpers.metrics.roem` does.
    """

    def _evaluate(self, dataset: DataFrame) -> float:
        rank = """CASE WHEN count(*) OVER (PARTITION BY user) = 1 THEN 0.5D ELSE
            (rank() OVER (PARTITION BY user ORDER BY prediction DESC) - 1
            + (count(*) OVER (PARTITION BY user, prediction) - 1) / 2)
            / (count(*) OVER (PARTITION BY user) - 1) END AS rank"""
        ranked = dataset.selectExpr("double(value) AS value", rank)
        total, found = ranked.selectExpr("sum(value)", "sum(value * rank)").collect()[0]
        if not total or total < 0:
            raise SparkError("no prediction has a value above 0; there is nothing to rank")
        return float(found / total)

    def isLargerBetter(self) -> bool:  # noqa: N802
        """A smaller rank is better."""
        return False


def grid(
    rows: DataFrame, runs: Sequence[Mapping[str, Any]], results: Path, *,
    folds: int = 3, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Cross-validation that can be interrupted: each result is in a file once it is there.

    Parameters
    ----------
    rows : DataFrame of Spark
        A log's rows; its pairs are dealt to the folds by a hash, so that folds are always the same.
    runs : sequence of mapping
        Settings of :func:`estimator`, such as ``tuning.runs_of(spark.GRID)``.
    results : path
        A file on the driver, one JSON object a line. Results that are there for the same settings,
        fold and data are not computed again.
    folds : int, at least 2
    seed : int
        Of the folds and of the models.

    Returns
    -------
    DataFrame of pandas
        One row for each run and fold: the settings, ``fold``, ``ROEM`` and ``seconds``.
    """
    if folds < 2:
        raise SparkError(f"folds is {folds}, expected a whole number of at least 2")
    fold = f"pmod(xxhash64(user, item, {seed}), {folds}) AS part"
    cells = pairs(rows).selectExpr("*", fold).persist()
    mark = "bit_xor(xxhash64(user, item, value))"  # the order of the rows has no part in it
    data = "{}-{}".format(*cells.selectExpr("count(*)", mark).collect()[0])
    done, found = dict(_stored(results)), []
    results.parent.mkdir(parents=True, exist_ok=True)
    for settings, number in product(runs, range(folds)):
        about = {"seed": seed, **settings, "fold": number, "folds": folds, "data": data}
        about["split seed"] = seed  # the models' may be another one, in their settings
        if (key := json.dumps(about, sort_keys=True)) not in done:
            start = time.perf_counter()
            train, test = cells.where(f"part <> {number}"), cells.where(f"part = {number}")
            model = estimator(**{"seed": seed, **settings}).fit(train)
            roem = ROEM().evaluate(model.transform(test))
            done[key] = {"ROEM": roem, "seconds": time.perf_counter() - start}
            line = json.dumps({**about, **done[key]})
            with io.writing(results), results.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # what stands before may be half a line
        found.append({**settings, "fold": number, **done[key]})
    cells.unpersist()
    return pd.DataFrame(found)


def _stored(results: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """What a file of results has; a line that a killed process left half is no result."""
    for line in results.read_text("utf-8").splitlines() if results.exists() else ():
        with suppress(ValueError, KeyError, AttributeError):
            about = json.loads(line)
            scores = {name: about.pop(name) for name in ("ROEM", "seconds")}
            yield json.dumps(about, sort_keys=True), scores


def lists(model: ALSModel, log: Log, folder: str, n: int = 20,
          titles: DataFrame | None = None) -> str:  # fmt: skip
    """Write each user's best new items as ``recommendations.parquet``, whole or not at all.

    Columns, order and popular list are those of :func:`helpers.production.write_lists`, in a
    folder of files, one for each part.

    Parameters
    ----------
    model : ALSModel
    log : Log
        What it was fitted on.
    folder : str
        Where all machines of the cluster can write.
    n : int, at least 1
        Items a user.
    titles : DataFrame of Spark, optional
        ``item_id``, ``title``; an item that is not there is shown by its id.

    Returns
    -------
    str
        The path of the Parquet.

    Notes
    -----
    Spark recommends known items, too, so more are asked for: of users with up to ``4^k`` known
    items, ``4^k`` more. That is at most 4 rows for each known pair.
    """
    if n < 1:
        raise SparkError(f"n is {n}, expected a whole number of at least 1")
    known = pairs(log.rows).where("value > 0").persist()
    history = known.groupBy("user").count()  # who has none has no list
    users = history.selectExpr("user", "ceil(log2(1 + count) / 2) AS k").persist()
    found = [  # 20 more, so that ties at the end of a list can be ordered by item
        model.recommendForUserSubset(users.where(f"k = {k}"), n + 4**k + 20)
        for (k,) in users.select("k").distinct().collect()
    ]
    best = reduce(DataFrame.union, found).selectExpr("user", "inline(recommendations)")
    best = best.withColumnRenamed("rating", "score").join(known, ["user", "item"], "anti")
    best = best.join(log.users, "user").select("user_id", "item", F.col("score").cast("double"))
    counted = log.items.join(known.groupBy("item").count(), "item", "left")
    share = f"coalesce(count, 0) / {log.users.count()} AS score"
    popular = counted.selectExpr("'' AS user_id", "item", share).sort(F.desc("score"), "item")
    place = "row_number() OVER (PARTITION BY user_id ORDER BY score DESC, item) AS rank"
    ranked = popular.limit(n).union(best).selectExpr("*", place).where(f"rank <= {n}")
    titles = log.items.selectExpr("item_id", "item_id AS title") if titles is None else titles
    items = log.items.join(titles.dropDuplicates(["item_id"]), "item_id", "left")
    items = items.selectExpr("item", "item_id", "coalesce(title, item_id) AS title")
    table = ranked.join(items, "item").select(*production.COLUMNS).sort("user_id", "rank")
    _write(table, folder, "recommendations.parquet")
    known.unpersist()
    users.unpersist()
    return f"{folder}/recommendations.parquet"


def _write(table: DataFrame, folder: str, name: str) -> None:
    """Write Parquet aside, then rename; on any file system that Spark knows."""
    context: Any = table.sparkSession.sparkContext
    path, names = context._jvm.org.apache.hadoop.fs.Path, ("{}", ".{}.draft", ".{}.before")
    target, draft, before = (path(folder, each.format(name)) for each in names)
    files = target.getFileSystem(context._jsc.hadoopConfiguration())
    if files.exists(before) and not files.exists(target):  # killed between two renames
        files.rename(before, target)
    try:
        table.write.parquet(draft.toString(), mode="overwrite")
        files.delete(before, True)
        if files.exists(target):
            files.rename(target, before)
        if not files.rename(draft, target):
            raise SparkError(f"{target} could not be written; {before} is what it was before")
        files.delete(before, True)
    finally:
        files.delete(draft, True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit the course's 192 models on three folds of a data set, or the rest of them, here."""
    parser = argparse.ArgumentParser(prog="python -m helpers.spark", description=main.__doc__)
    parser.add_argument("dataset", help="a name or a path, as for `make run`")
    parser.add_argument("results", type=Path, help="the file to which results are added (.jsonl)")
    options = parser.parse_args(arguments)
    try:
        log = datasets.load(options.dataset).interactions
        with tempfile.TemporaryDirectory() as folder:
            log.to_parquet(path := f"{folder}/log.parquet")
            rows = read(session(), path).rows
            found = grid(rows, tuning.runs_of(GRID), options.results)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(found.groupby(list(GRID))["ROEM"].mean().nsmallest(10).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
