"""Small measures that the other modules of the package and the notebook share."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import metrics, recommend
from helpers.interactions import Interactions
from helpers.recommend import rank_items


def ndcg(
    lists: np.ndarray, held_out: csr_matrix, k: int, *, seen: csr_matrix | None = None
) -> pd.Series:
    """nDCG at ``k`` of each user with something held out; see :func:`helpers.metrics.ranking`.

    Parameters
    ----------
    lists : int ndarray of shape (n_users, n)
    held_out : csr_matrix of shape (n_users, n_items)
    k : int
    seen : csr_matrix of shape (n_users, n_items), optional
        If given, a list that holds such an item is refused.

    Returns
    -------
    Series of float, index the row of the user

    Examples
    --------
    >>> ndcg(np.array([[2, 0], [1, 0]]), csr_matrix([[0, 0, 1], [0, 0, 0]]), k=2).to_dict()
    {0: 1.0}
    """
    return metrics.ranking(lists, held_out, [k], seen=seen)[f"ndcg@{k}"]


def item_counts(interactions: Interactions) -> np.ndarray:
    """Number of users of each item, an int ndarray of shape (n_items,)."""
    return np.bincount(interactions.user_items.indices, minlength=interactions.n_items)


def genres(items: pd.DataFrame, item_ids: pd.Index) -> csr_matrix | None:
    """Which item has which genre.

    Parameters
    ----------
    items : DataFrame
        Columns ``item_id`` and, where known, ``genres`` such as ``"Action|Comedy"``.
    item_ids : Index of str
        Id of each row of the result.

    Returns
    -------
    csr_matrix of shape (n_items, n_genres), ones; None where no genre is known

    Examples
    --------
    >>> items = pd.DataFrame({"item_id": ["a", "b"], "genres": ["Action|Comedy", "Comedy"]})
    >>> genres(items, pd.Index(["b", "c", "a"])).toarray()
    array([[0., 1.],
           [0., 0.],
           [1., 1.]])
    """
    if "genres" not in items:
        return None
    known = items.drop_duplicates("item_id").set_index("item_id")["genres"]
    flags = known.fillna("").astype(str).str.get_dummies("|").drop(columns="", errors="ignore")
    flags = flags.reindex(item_ids, fill_value=0)
    return csr_matrix(flags.to_numpy(np.float64)) if flags.shape[1] else None


def rating_error(model: Any, test: Interactions) -> float:
    """Root mean square error of the scores as predictions of the held-out values.

    Parameters
    ----------
    model : fitted model with factors
    test : Interactions

    Returns
    -------
    float
    """
    rows, columns = test.cells()
    scores = np.einsum("nf,nf->n", model.user_factors[rows], model.item_factors[columns])
    return float(np.sqrt(np.mean((scores - test.user_items.data) ** 2)))


def parrot(histories: csr_matrix, counts: np.ndarray, k: int) -> np.ndarray:
    """Lists that repeat the history, the most popular items of it first: no model at all.

    Parameters
    ----------
    histories : csr_matrix of shape (n_users, n_items)
    counts : ndarray of shape (n_items,)
        Users of each item.
    k : int
        Length of the lists.

    Returns
    -------
    int ndarray of shape (n_users, k), padded with -1

    Notes
    -----
    It finds something only where train and test share pairs, so it must score 0.

    Examples
    --------
    >>> parrot(csr_matrix([[1, 0, 1], [0, 1, 0]]), np.array([1, 5, 7]), k=2)
    array([[ 2,  0],
           [ 1, -1]])
    """
    known = histories.astype(bool).toarray()
    return rank_items(np.where(known, counts, recommend.PADDING), k)[0]


def verdict(pair: metrics.Paired) -> str:
    """Where the first model of a pair stands: "ahead", "behind", or "tied" if 0 is possible.

    Examples
    --------
    >>> verdict(metrics.Paired(difference=0.1, low=-0.1, high=0.3, p_value=0.2))
    'tied'
    """
    return "ahead" if pair.low > 0 else "behind" if pair.high < 0 else "tied"
