"""What every test may ask for. Fixtures of one room live beside its tests."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import ModuleType

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
    """Mark everything under tests/real, and skip it where llama.cpp cannot be loaded; and mark what
    drives the fake engine."""
    real = [item for item in items if REAL in item.path.parents]
    pure = [item for item in items if REAL not in item.path.parents]
    for item in pure:
        if isinstance(item, pytest.Function) and (
            "build" in item.fixturenames or _on_fake_engine(item.module)
        ):
            item.add_marker("fake")
    reason = _llama_cpp_missing() if real else None
    for item in real:
        item.add_marker("real")
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@cache
def _on_fake_engine(module: ModuleType) -> bool:
    """Whether a module of tests takes something of the fake engine, or from helpers that do."""
    homes = {str(getattr(value, "__module__", "")) for value in vars(module).values()}
    helpers = {home for home in homes if home.startswith("tests.") and home != module.__name__}
    return any(home.startswith("trillama.engine.fake") for home in homes) or any(
        _on_fake_engine(sys.modules[home]) for home in helpers if home in sys.modules
    )


def _llama_cpp_missing() -> str | None:
    try:
        import llama_cpp  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return f"llama_cpp cannot be imported: {error}"
    return None
