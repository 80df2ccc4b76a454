"""Any event log as the tidy frame, with an account of every row: read, validated, rules applied."""

from helpers.cleaning.columns import ROLES
from helpers.cleaning.pipeline import Cleaned, clean, read_items, read_log
from helpers.cleaning.report import CleaningReport, Finding
from helpers.cleaning.rules import RULES, SERVICE_ITEMS, Rules

__all__ = [
    "ROLES",
    "RULES",
    "SERVICE_ITEMS",
    "Cleaned",
    "CleaningReport",
    "Finding",
    "Rules",
    "clean",
    "read_items",
    "read_log",
]
