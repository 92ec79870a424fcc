"""What several tests of music need."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def music21() -> ModuleType:
    """An independent reader of music; its slow import stays outside the deadline of property tests."""
    module: ModuleType = pytest.importorskip("music21")
    return module
