"""What several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


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
