"""Recommendations that a site can call; ``pip install helpers[serve]`` brings what it needs.

``table`` (one SQLite file a version) < ``redis`` < ``api``, ``dashboard``; ``window`` (days of a
log) < ``refresh`` (the daily job). The core imports none of it.
"""
