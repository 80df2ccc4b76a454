"""A simulated store: real purchases wrapped in made-up sessions, crawlers, staff and dirt.

Whoever shows a number from it says that it is simulated (``SimulatedStore.description``). What is
planted is known row by row, so that a detector has a measured precision and recall.
"""

from helpers.simulation.detection import accounts_found, missed, rows_found
from helpers.simulation.dirt import SHARES
from helpers.simulation.identity import OFFICE
from helpers.simulation.store import EVENT_COLUMNS, SimulatedStore, as_purchases, simulate_store

__all__ = [
    "EVENT_COLUMNS",
    "OFFICE",
    "SHARES",
    "SimulatedStore",
    "accounts_found",
    "as_purchases",
    "missed",
    "rows_found",
    "simulate_store",
]
