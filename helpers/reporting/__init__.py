"""Results as JSON, the sentences that notebooks generate, HTML reports and the README's tables."""

from helpers.reporting.results import (
    Claim,
    Result,
    answer_slot,
    escape,
    remark,
    skip,
    with_interval,
    write_results,
)

__all__ = [
    "Claim",
    "Result",
    "answer_slot",
    "escape",
    "remark",
    "skip",
    "with_interval",
    "write_results",
]
