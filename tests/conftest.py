"""Settings for the property tests, and the folder of the project."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine under load must not fail a property; the examples are the same in every run.
settings.register_profile(
    "project",
    deadline=None,
    max_examples=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("project")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return Path(__file__).resolve().parents[1]
