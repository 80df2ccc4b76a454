"""ALS for implicit feedback: a reference, implicit's objective solved exactly, and IALS."""

from helpers.als.ials import (
    IALS,
    ExactALS,
    ials_loss,
    load_model,
    penalties,
    save_model,
)
from helpers.als.reference import loss_parts, reference_als, solve_half_step

__all__ = [
    "IALS",
    "ExactALS",
    "ials_loss",
    "load_model",
    "loss_parts",
    "penalties",
    "reference_als",
    "save_model",
    "solve_half_step",
]
