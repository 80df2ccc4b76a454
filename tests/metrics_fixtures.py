"""The same lists in the shapes that other libraries want them in."""

import numpy as np
from hypothesis import strategies as st
from implicit.recommender_base import RecommenderBase
from numba.typed import List as TypedList
from scipy.sparse import csr_matrix


class FixedLists(RecommenderBase):
    """A model for implicit's evaluation that has its lists ready."""

    def __init__(self, top_n):
        self.top_n = top_n.astype(np.int32)
        self.scores = np.zeros(top_n.shape, dtype=np.float32)

    def recommend(self, userid, user_items, N, **options):
        return self.top_n[userid, :N], self.scores[userid, :N]

    def fit(self, user_items): ...
    def save(self, file): ...
    def similar_items(self, *arguments, **options): ...
    def similar_users(self, *arguments, **options): ...


def filled(top_n: np.ndarray, n_items: int) -> np.ndarray:
    """Lists whose empty places hold items beyond the catalogue, which are never relevant."""
    return np.where(top_n >= 0, top_n, n_items + np.arange(top_n.shape[1]))


def ranx_run(top_n: np.ndarray) -> TypedList:
    """Item and falling score of each place, as ranx keeps a run."""
    falling = np.arange(top_n.shape[1], 0, -1, dtype=np.float64)
    return TypedList([np.column_stack([items, falling]) for items in top_n.astype(np.float64)])


def ranx_qrels(test: csr_matrix) -> TypedList:
    """Relevant items of each user with relevance 1, as ranx keeps them."""
    rows = np.split(test.indices.astype(np.float64), test.indptr[1:-1])
    return TypedList([np.column_stack([items, np.ones(len(items))]) for items in rows])


def scores_of(top_n: np.ndarray, n_columns: int) -> np.ndarray:
    """Dense scores whose best items are the lists, in their order."""
    scores = np.full((len(top_n), n_columns), -1.0)
    falling = np.arange(top_n.shape[1], 0, -1, dtype=np.float64)
    np.put_along_axis(scores, top_n, np.broadcast_to(falling, top_n.shape), axis=1)
    return scores


def random_case(
    seed: int, n_users: int = 12, n_items: int = 20, n: int = 8
) -> tuple[np.ndarray, csr_matrix]:
    """Lists, some of them cut short, and test items, none for some users."""
    rng = np.random.default_rng(seed)
    top_n = rng.permuted(np.tile(np.arange(n_items), (n_users, 1)), axis=1)[:, :n]
    length = rng.integers(n + 1, size=n_users)
    top_n = np.where(
        np.arange(n) < np.maximum(length, rng.random(n_users) < 0.5)[:, None], top_n, -1
    )
    share = rng.choice([0.0, 0.05, 0.3, 0.9], size=(n_users, 1))
    test = csr_matrix((rng.random((n_users, n_items)) < share) * rng.random((n_users, n_items)))
    if test.nnz == 0:
        test = csr_matrix(([1.0], ([0], [0])), shape=test.shape)
    return top_n, test


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, csr_matrix]:
    """Random cases of random sizes."""
    n_items = draw(st.integers(3, 25))
    return random_case(
        draw(st.integers(0, 10_000)),
        n_users=draw(st.integers(1, 15)),
        n_items=n_items,
        n=draw(st.integers(1, n_items)),
    )
