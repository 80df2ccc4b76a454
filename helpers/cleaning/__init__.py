"""Any event log as the tidy frame, with an account of every row: read, validated, rules applied."""

from helpers.cleaning.behaviour import Thresholds
from helpers.cleaning.pipeline import Cleaned, clean, column_names
from helpers.cleaning.profile import oddities, shapes
from helpers.cleaning.report import CleaningReport, Finding
from helpers.cleaning.rules import RULES, SERVICE_ITEMS, Rules
from helpers.cleaning.schema import ROLES

__all__ = [
    "ROLES",
    "RULES",
    "SERVICE_ITEMS",
    "Cleaned",
    "CleaningReport",
    "Finding",
    "Rules",
    "Thresholds",
    "clean",
    "column_names",
    "oddities",
    "shapes",
]
