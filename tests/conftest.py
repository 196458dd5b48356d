"""What several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parents[1]

# No test is timed: on a busy machine hypothesis would fail examples that are right but slow.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data; the test is skipped where there is none."""
    folder = Path(os.environ.get("T4SPP_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; set T4SPP_TEST_DATA to their folder")
    return folder.resolve()


@pytest.fixture(autouse=True)
def _every_plugin_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own T4SPP_PLUGINS must not change what the tests see."""
    monkeypatch.delenv("T4SPP_PLUGINS", raising=False)
