"""Fixtures of the Desk's tests."""

from __future__ import annotations

import pytest

from tests.support.house import houses

build = pytest.fixture(houses)
