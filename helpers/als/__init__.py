"""ALS for implicit feedback: a reference, implicit's objective solved exactly, and IALS."""

from helpers.als.ials import IALS, ExactALS, load_model, save_model
from helpers.als.reference import loss_parts, reference_als, solve_half_step

__all__ = [
    "IALS",
    "ExactALS",
    "load_model",
    "loss_parts",
    "reference_als",
    "save_model",
    "solve_half_step",
]
