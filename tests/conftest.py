"""What every test may ask for. Fixtures of one room live beside its tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes any example slow now and then; tests of time say so themselves.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT / "tests" / "real"


@pytest.fixture(scope="session")
def tiny_model_path() -> Path:
    """The GGUF file of the bundled model."""
    found = sorted((ROOT / "trillama" / "data").glob("*.gguf"))
    if not found:
        pytest.skip("trillama/data holds no model yet")
    return found[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything under tests/real, and skip it where llama.cpp cannot be loaded."""
    real = [item for item in items if REAL in item.path.parents]
    reason = _llama_cpp_missing() if real else None
    for item in real:
        item.add_marker("real")
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _llama_cpp_missing() -> str | None:
    try:
        import llama_cpp  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return f"llama_cpp cannot be imported: {error}"
    return None
