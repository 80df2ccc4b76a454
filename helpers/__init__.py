"""Helpers under the notebooks: from an interaction log to top-N recommendations with ALS.

Modules import downwards only: io < cleaning, sessions < simulation < datasets < interactions <
splits, weighting < als < models < recommend < metrics < tuning < comparison < production <
serving; plots < reporting < portfolio < __main__.
"""
