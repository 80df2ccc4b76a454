"""Helpers under the notebooks: from an interaction log to top-N recommendations with ALS.

Modules import downwards only: files < fetch, logs, datasets < interactions < weighting, splits
< als < recommend, metrics < plots, results < notebooks, reports, portfolio.
"""
