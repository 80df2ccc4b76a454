"""Named models on the same splits: how good, for whom, for newcomers, and four people."""

from helpers.evaluation.comparison import PUBLISHED, Comparison, blend, compare, rank_average
from helpers.evaluation.measures import genres, item_counts, ndcg, parrot, rating_error
from helpers.evaluation.newcomers import ahead_from, cold_start, cold_start_table, first_items
from helpers.evaluation.people import Portrait, example_users, portrait, portraits

__all__ = [
    "PUBLISHED",
    "Comparison",
    "Portrait",
    "ahead_from",
    "blend",
    "cold_start",
    "cold_start_table",
    "compare",
    "example_users",
    "first_items",
    "genres",
    "item_counts",
    "ndcg",
    "parrot",
    "portrait",
    "portraits",
    "rank_average",
    "rating_error",
]
