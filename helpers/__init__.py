"""Helpers under the notebooks: from an interaction log to top-N recommendations with ALS.

Modules import downwards only: files, markdown < fetch < logs < cleaning, sessions < simulation <
datasets < interactions < weighting, splits, integrity < als < recommend < baselines, metrics <
sweeps, tuning < evaluation < plots, results < notebooks, reports < readme, portfolio < __main__.
"""
