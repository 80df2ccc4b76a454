"""What a cleaning did: waterfall of rows, sizes before and after, examples, findings."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from helpers.cleaning.rules import RULES, Rules, Verdicts
from helpers.cleaning.sql import Connection, listed, scalar

Level = Literal["error", "warning", "note"]

MIN_REPEATED_PAIRS = 10  # fewer pairs than these can all stand there twice by chance

N_EXAMPLES = 3

MANY_REFUSED = 0.1  # a larger share of the rows in quarantine is an error

# A rule that takes a larger share of the rows, or of those who bought, is reported.
MANY_ROWS, MANY_BUYERS = 0.05, 0.01

BOUGHT = "event = 'purchase' AND coalesce(value, 1) > 0"
"""Whoever only returned something has not bought it in this log."""


@dataclass(frozen=True)
class Finding:
    """Something about the log that its reader should know.

    Attributes
    ----------
    level : {"error", "warning", "note"}
        An error puts every number made from the raw log in doubt.
    message : str
        What was found, and what follows.
    """

    level: Level
    message: str


@dataclass(frozen=True)
class CleaningReport:
    """What was read, refused, removed and kept.

    Attributes
    ----------
    n_rows : int
        Lines with data in all files.
    n_kept, n_quarantined : int
    waterfall : DataFrame
        Index ``step`` (the quarantine, then each rule in its order); columns ``removed``,
        ``kept`` (rows left after the step) and ``applies`` (False for a rule that is switched
        off).
    quarantine : Series
        Rows for each reason.
    sizes : DataFrame
        Index ``rows, users, items, pairs``; columns ``before`` (valid rows with user and item)
        and ``after``.
    examples : DataFrame
        Up to three removed rows for each rule: ``rule``, ``file``, ``row``, and the tidy columns.
    findings : tuple of Finding
        Errors first.
    """

    n_rows: int
    n_kept: int
    n_quarantined: int
    waterfall: pd.DataFrame
    quarantine: pd.Series
    sizes: pd.DataFrame
    examples: pd.DataFrame
    findings: tuple[Finding, ...]

    def removed(self, rule: str) -> int:
        """Rows that a rule removed."""
        return int(self.waterfall["removed"][rule])

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values for a JSON file."""
        return {
            "rows": self.n_rows,
            "kept": self.n_kept,
            "quarantined": self.n_quarantined,
            "waterfall": json.loads(self.waterfall.reset_index().to_json(orient="records")),
            "quarantine": json.loads(self.quarantine.to_json()),
            "sizes": json.loads(self.sizes.to_json(orient="index")),
            "examples": self.examples.astype("str").fillna("").to_dict("records"),
            "findings": [vars(finding) for finding in self.findings],
        }


def build(
    connection: Connection, rules: Rules, verdicts: Verdicts, reasons: pd.Series, fields: list[str]
) -> CleaningReport:
    """Put the report together after the rules were applied.

    Parameters
    ----------
    connection : DuckDBPyConnection
        With ``events``, ``alive``, ``removed_rows`` (file, row, rule, tidy columns), ``files``.
    rules : Rules
    verdicts : Verdicts
    reasons : Series
        Rows in quarantine for each, the most frequent first.
    fields : sequence of str
        The tidy columns of this log.

    Returns
    -------
    CleaningReport
    """
    n_quarantined = int(reasons.sum())
    n_rows = n_quarantined + scalar(connection, "SELECT count(*) FROM events")
    counts = dict(connection.execute("SELECT rule, count(*) FROM removed GROUP BY rule").fetchall())
    steps = {"quarantine": n_quarantined} | {rule: counts.get(rule, 0) for rule in RULES}
    waterfall = pd.DataFrame({"removed": pd.Series(steps, dtype="int64")}).rename_axis("step")
    waterfall["kept"] = n_rows - waterfall["removed"].cumsum()
    waterfall["applies"] = [rules.applies(step) for step in waterfall.index]
    _count_pairs(connection)
    sizes = pd.DataFrame(
        {"before": _sizes(connection, "n"), "after": _sizes(connection, "kept")},
        index=pd.Index(["rows", "users", "items", "pairs"], name="what"),
    )
    findings: dict[Level, list[str]] = {
        "error": [*_repetition(connection), *_repeated_files(connection)],
        "warning": _large(connection, counts, n_rows),
        "note": _notes(verdicts),
    }
    if n_quarantined:
        share = n_quarantined / n_rows
        reason, n = next(iter(reasons.items()))
        message = (
            f"{n_quarantined:,} of {n_rows:,} rows ({share:.2%}) are in quarantine; the most "
            f"frequent reason: {reason} ({n:,})."
        )
        if share > MANY_REFUSED:
            findings["error"].append(message)
        else:
            findings["warning"].insert(0, message)
    return CleaningReport(
        n_rows=n_rows,
        n_kept=int(waterfall["kept"].iloc[-1]),
        n_quarantined=n_quarantined,
        waterfall=waterfall,
        quarantine=reasons,
        sizes=sizes,
        examples=_examples(connection, fields),
        findings=tuple(Finding(level, each) for level in findings for each in findings[level]),
    )


def _count_pairs(connection: Connection) -> None:
    """Count the rows of each pair, before and after; one pass for all that follows.

    Hashes stand for the ids: they are a fraction of the work, and two of some millions are equal
    with a probability below one in a million.
    """
    connection.execute(
        """
        CREATE TABLE pairs AS
        SELECT hash(user_id) AS user, hash(item_id) AS item, count(*) AS n,
            count(*) FILTER (rule IS NULL) AS kept
        FROM events LEFT JOIN removed USING (id)
        WHERE user_id IS NOT NULL AND item_id IS NOT NULL GROUP BY ALL
        """
    )


def _sizes(connection: Connection, count: str) -> list[int]:
    [row] = connection.execute(
        f'SELECT sum({count}), count(DISTINCT "user"), count(DISTINCT item), count(*) '
        f"FROM pairs WHERE {count} > 0"
    ).fetchall()
    return [int(value or 0) for value in row]


def _examples(connection: Connection, fields: list[str]) -> pd.DataFrame:
    # By content, not by place, so that the order of the rows changes nothing but file and row.
    time = ", timestamp" if "timestamp" in fields else ""
    return connection.execute(
        f"""
        SELECT rule, file, row, {", ".join(fields)} FROM (
            SELECT *, row_number() OVER (
                PARTITION BY rule ORDER BY user_id{time}, item_id, event, fingerprint, file, row
            ) AS nth FROM removed_rows
        ) WHERE nth <= {N_EXAMPLES} ORDER BY list_position({listed(RULES)}, rule), nth
        """
    ).df()


def _repetition(connection: Connection) -> list[str]:
    """Find that the whole log stands there several times over."""
    found = connection.execute("SELECT n, count(*) FROM pairs GROUP BY n").fetchall()
    n_pairs = sum(pairs for _, pairs in found)
    if math.gcd(*(n for n, _ in found)) < 2 or n_pairs < MIN_REPEATED_PAIRS:
        return []
    # A view and a purchase of each pair are no repetition: each event must be repeated as well.
    counts = connection.execute(
        "SELECT DISTINCT count(*) FROM events WHERE user_id IS NOT NULL AND item_id IS NOT NULL "
        "GROUP BY user_id, item_id, event"
    ).fetchall()
    times = math.gcd(*(n for (n,) in counts))
    if times < 2:
        return []
    each = f"exactly {times}" if found == [(times, n_pairs)] else f"a multiple of {times}"
    return [
        f"The whole log is repeated: each of its {n_pairs:,} pairs of user and item stands "
        f"there {each} times. A split by rows would put copies of the test set into the "
        "training set; find out how the file was put together."
    ]


def _repeated_files(connection: Connection) -> list[str]:
    """Find files of which every row also stands in another one."""
    if scalar(connection, "SELECT count(*) FROM files") < 2:
        return []
    found = connection.execute(
        """
        SELECT file, count(*) FROM events JOIN files USING (part) LEFT JOIN (
            SELECT fingerprint, true AS elsewhere FROM events
            GROUP BY fingerprint HAVING min(part) <> max(part)
        ) USING (fingerprint)
        GROUP BY part, file HAVING count(*) = count(elsewhere) ORDER BY part
        """
    ).fetchall()
    return [
        f"Every row of {file} ({n:,}) also stands in another file: it was exported, or copied, "
        "twice."
        for file, n in found
    ]


def _large(connection: Connection, counts: Mapping[str, int], n_rows: int) -> list[str]:
    """Report the rules that took many rows, or the last purchase of many buyers."""
    n_buyers = scalar(connection, f"SELECT count(DISTINCT user_id) FROM events WHERE {BOUGHT}")
    lost = dict(
        connection.execute(
            f"""
            SELECT rule, count(DISTINCT user_id) FROM events JOIN removed USING (id)
                ANTI JOIN (SELECT user_id FROM alive WHERE {BOUGHT}) USING (user_id)
            WHERE {BOUGHT} GROUP BY rule
            """
        ).fetchall()
    )
    return [
        f"The rule '{rule}' removed {counts[rule]:,} rows ({counts[rule] / n_rows:.1%}) and "
        f"the last purchase of {lost.get(rule, 0):,} of {n_buyers:,} buyers: {what}. Look at "
        "the examples; if they are good rows, change the rule or switch it off."
        for rule, what in RULES.items()
        if counts.get(rule, 0) > MANY_ROWS * n_rows or lost.get(rule, 0) > MANY_BUYERS * n_buyers
    ]


def _notes(verdicts: Verdicts) -> list[str]:
    """Say what was done to returns, and who looks like staff."""
    found = []
    if verdicts.n_reduced:
        found.append(
            f"{verdicts.n_reduced:,} purchases were returned in part and are kept with what "
            "is left (column returned)."
        )
    if verdicts.n_unmatched:
        found.append(
            f"{verdicts.n_unmatched:,} returns have no purchase in the log, or a smaller one: "
            "it was probably made before the log begins."
        )
    accounts = verdicts.accounts
    suspects = list(accounts.index[accounts["like_staff"]]) if len(accounts) else []
    if suspects:
        few = ", ".join(map(str, suspects[:5])) + (", ..." if len(suspects) > 5 else "")
        found.append(
            f"{len(suspects):,} accounts view many items in office hours and hardly buy ({few}). "
            "They are kept; if they are staff, name them (staff_users, staff_addresses)."
        )
    return found
