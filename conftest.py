"""What every test run needs before NumPy is imported or a notebook's kernel starts."""

import os
import tempfile

import pytest

# OpenBLAS threads fight with implicit's own, and implicit warns about them.
os.environ["OPENBLAS_NUM_THREADS"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Keep the committed results as they are while nbval executes the notebooks."""
    folder = tempfile.TemporaryDirectory(prefix="results-")
    os.environ["PORTFOLIO_REPORTS"] = folder.name
    config.add_cleanup(folder.cleanup)
