"""ALS for implicit feedback: a reference, implicit's objective solved exactly, and IALS."""

from helpers.als.ials import IALS, ExactALS, comparable_regularization, ials_loss, penalties
from helpers.als.reference import fit_with_history, loss_parts, reference_als, solve_half_step
from helpers.als.storage import load_model, save_model

__all__ = [
    "IALS",
    "ExactALS",
    "comparable_regularization",
    "fit_with_history",
    "ials_loss",
    "load_model",
    "loss_parts",
    "penalties",
    "reference_als",
    "save_model",
    "solve_half_step",
]
