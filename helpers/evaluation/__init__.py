"""Named models on the same splits: how good, for whom, for newcomers, and four people.

For a store's log: a split by events, cleaning against tuning, whom to serve with what, and a number
that flatters.
"""

from helpers.evaluation.choosing import choose, chosen_recipe, learn_event_weights, try_settings
from helpers.evaluation.comparison import PUBLISHED, Comparison, blend, compare, rank_average
from helpers.evaluation.experiment import TwoByTwo, two_by_two
from helpers.evaluation.flattery import Flattery, flattery
from helpers.evaluation.measures import genres, item_counts, ndcg, parrot, rating_error
from helpers.evaluation.newcomers import ahead_from, cold_start, cold_start_table, first_items
from helpers.evaluation.people import Portrait, example_users, portrait, portraits
from helpers.evaluation.serving import Serving, serve
from helpers.evaluation.store import StoreSplit, at_random, cutoff, leaks, since, store_split
from helpers.evaluation.store_models import (
    SEEDS_BEST,
    BuyAgain,
    StoreTask,
    judge,
    stock,
    store_recipes,
)

__all__ = [
    "PUBLISHED",
    "SEEDS_BEST",
    "BuyAgain",
    "Comparison",
    "Flattery",
    "Portrait",
    "Serving",
    "StoreSplit",
    "StoreTask",
    "TwoByTwo",
    "ahead_from",
    "at_random",
    "blend",
    "choose",
    "chosen_recipe",
    "cold_start",
    "cold_start_table",
    "compare",
    "cutoff",
    "example_users",
    "first_items",
    "flattery",
    "genres",
    "item_counts",
    "judge",
    "leaks",
    "learn_event_weights",
    "ndcg",
    "parrot",
    "portrait",
    "portraits",
    "rank_average",
    "rating_error",
    "serve",
    "since",
    "stock",
    "store_recipes",
    "store_split",
    "try_settings",
    "two_by_two",
]
