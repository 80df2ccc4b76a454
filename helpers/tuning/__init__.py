"""Choosing settings on a validation set: a grid, a study that resumes, what each setting does.

A :class:`Task` holds a training and a validation side, and nothing in this package asks for more:
the test set stays closed until :mod:`helpers.evaluation` opens it. Every fit is exact and in
float64, so that the same settings are chosen on every processor.
"""

from helpers.tuning.effects import curves, double, fit_lists
from helpers.tuning.grid import best, cross_validate, judge, optimism, try_all
from helpers.tuning.studies import search, search_all
from helpers.tuning.tasks import MODELS, Task, few_users, iterates, recipe

__all__ = [
    "MODELS",
    "Task",
    "best",
    "cross_validate",
    "curves",
    "double",
    "few_users",
    "fit_lists",
    "iterates",
    "judge",
    "optimism",
    "recipe",
    "search",
    "search_all",
    "try_all",
]
