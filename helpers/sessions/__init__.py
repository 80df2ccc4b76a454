"""Sessions from the gaps between events, the funnel from view to purchase, and who has bought.

Input is the events frame of :mod:`helpers.cleaning`: ``user_id``, ``item_id``, ``event``,
``timestamp`` and, where the log has it, ``session_id``.
"""

from helpers.sessions.cutting import STEPS, overview, reconstruct, summary
from helpers.sessions.funnels import (
    PurchaseSplit,
    conversion,
    funnel,
    purchasers,
    split_by_purchase,
)

__all__ = [
    "STEPS",
    "PurchaseSplit",
    "conversion",
    "funnel",
    "overview",
    "purchasers",
    "reconstruct",
    "split_by_purchase",
    "summary",
]
