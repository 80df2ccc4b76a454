"""One name, several definitions: what libraries call precision, recall and MAP."""

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers.metrics.accuracy import ranking
from helpers.metrics.lists import as_csr


def rosetta(top_n: np.ndarray, held_out: csr_matrix, k: int) -> pd.DataFrame:
    """The values that libraries report for the same lists, with the denominator of each.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n), padded with -1
    held_out : csr_matrix of shape (n_users, n_items)
    k : int
        Cut-off, from 1 to ``n``.

    Returns
    -------
    DataFrame
        Index ``metric``; columns ``denominator`` (for each user, with ``r`` the number of items
        held out), ``value`` (mean over the users, unless the denominator says otherwise) and
        ``used by``, the libraries that the tests compare with on the same lists.

    Raises
    ------
    ValueError
        As :func:`ranking`.

    Examples
    --------
    Two of three places hit for a user with four relevant items, none for a user with one.

    >>> held_out = csr_matrix([[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
    >>> table = rosetta(np.array([[0, 4, 1], [3, 4, 5]]), held_out, k=3)
    >>> table.loc["precision", "value"].tolist()  # (2/3 + 0/3) / 2, (2 + 0) / (3 + 1)
    [0.3333333333333333, 0.5]
    >>> table.loc["recall", "value"].tolist()  # (2/4 + 0/1) / 2, (2/3 + 0/1) / 2
    [0.25, 0.3333333333333333]
    """
    held_out = as_csr("held_out", held_out)
    found = ranking(top_n, held_out, [k])
    means = found.means().rename(lambda name: name.removesuffix(f"@{k}"))
    n_hits = found[f"precision@{k}"].sum() * k
    pooled = n_hits / np.minimum(k, np.diff(held_out.indptr)).sum()
    rows = [
        ("precision", "k", means["precision"], "irspack, ranx"),
        ("precision", "sum of min(k, r) over users", pooled, "implicit"),
        ("recall", "r", means["recall"], "irspack, ranx"),
        ("recall", "min(k, r)", means["capped recall"], "irspack (recall_with_cutoff)"),
        ("MAP", "r", means["map"], "irspack, ranx"),
        ("MAP", "min(k, r)", means["capped map"], "implicit"),
        ("NDCG", "ideal list of min(k, r)", means["ndcg"], "implicit, irspack, ranx"),
        ("hit rate", "1", means["hit rate"], "irspack, ranx"),
        ("MRR", "place of the first hit", means["mrr"], "ranx"),
    ]
    columns = ["metric", "denominator", "value", "used by"]
    return pd.DataFrame(rows, columns=columns).set_index("metric")
