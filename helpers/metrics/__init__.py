"""What lists and scores are worth: computed from arrays, never from a model.

``top_n`` is always an int array of shape (n_users, n) of item indexes, best first, padded with -1.
``held_out`` is the sparse matrix of the same users: a stored cell is a relevant item.
"""

from helpers.metrics.accuracy import Ranking, hit_rate_at_k, ranking, summary
from helpers.metrics.beyond import (
    beyond,
    catalogue_coverage,
    gini,
    intra_list_diversity,
    mean_overlap,
    novelty,
    personalisation,
    popular_share,
)
from helpers.metrics.definitions import rosetta
from helpers.metrics.lists import hits
from helpers.metrics.scores import auc, percentile_ranks, roem, roem_of_test_rows
from helpers.metrics.uncertainty import Paired, bootstrap_interval, paired

__all__ = [
    "Paired",
    "Ranking",
    "auc",
    "beyond",
    "bootstrap_interval",
    "catalogue_coverage",
    "gini",
    "hit_rate_at_k",
    "hits",
    "intra_list_diversity",
    "mean_overlap",
    "novelty",
    "paired",
    "percentile_ranks",
    "personalisation",
    "popular_share",
    "ranking",
    "roem",
    "roem_of_test_rows",
    "rosetta",
    "summary",
]
