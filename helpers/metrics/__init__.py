"""The quality of lists and scores, computed from arrays and never from a model.

``top_n`` is always an int array of shape (n_users, n) of item indexes, best first, padded with -1.
``test`` is the sparse matrix of the same users: a stored cell is a relevant item.
"""

from helpers.metrics.beyond import beyond_accuracy, coverage, mean_overlap
from helpers.metrics.lists import accuracy, definitions, hits
from helpers.metrics.ranks import percentile_ranks, roem
from helpers.metrics.uncertainty import Paired, bootstrap_interval, paired, wilson

__all__ = [
    "Paired",
    "accuracy",
    "beyond_accuracy",
    "bootstrap_interval",
    "coverage",
    "definitions",
    "hits",
    "mean_overlap",
    "paired",
    "percentile_ranks",
    "roem",
    "wilson",
]
