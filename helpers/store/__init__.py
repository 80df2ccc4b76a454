"""What is particular to stores: a split by events, the table of models, cleaning against tuning.

Then whom to serve with what, and a number that is high because its test is as dirty as its lists.
"""

from helpers.store.choosing import choose, chosen_factory, learn_event_weights, try_settings
from helpers.store.contamination import Contamination, contamination
from helpers.store.experiment import TwoByTwo, two_by_two
from helpers.store.models import (
    STORE_PROJECT,
    StoreTask,
    compare,
    default_als,
    store_factories,
)
from helpers.store.serving import Serving, serve
from helpers.store.split import StoreSplit, as_logged, at_random, cutoff, leaks, since, store_split

__all__ = [
    "STORE_PROJECT",
    "Contamination",
    "Serving",
    "StoreSplit",
    "StoreTask",
    "TwoByTwo",
    "as_logged",
    "at_random",
    "choose",
    "chosen_factory",
    "compare",
    "contamination",
    "cutoff",
    "default_als",
    "leaks",
    "learn_event_weights",
    "serve",
    "since",
    "store_factories",
    "store_split",
    "try_settings",
    "two_by_two",
]
