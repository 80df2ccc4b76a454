"""Helpers under the notebooks: from an interaction log to top-N recommendations with ALS.

Modules import downwards only: files, markdown < fetch < logs < datasets < interactions <
weighting, splits, integrity < als < recommend < baselines, metrics < sweeps, evaluation, tuning <
plots, results < notebooks, reports < readme, portfolio < __main__.
"""
