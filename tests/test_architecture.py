"""The floors of the house, the fences between rooms, and the budgets of a file.

A unit is a module or folder directly under ``trillama/``. It imports only units to its right in
FLOORS, and itself. The rules read the source, so an import hidden in a function or under
TYPE_CHECKING counts like any other.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator

import pytest

from tests.support.source import (
    PACKAGE,
    ROOT,
    Module,
    code_lines,
    modules,
    parameters,
    parse,
)

FLOORS = (
    "cli", "commands", "app", "api", "nursery_scheduler", "residency", "runner_pool", "runners",
    "batching", "seats", "kv", "models", "blobs", "engine", "prompts", "wire", "base",
)  # fmt: skip

HOUSE = ("__main__", *FLOORS)  # ``python -m trillama`` is the way in, above all floors

SEES_ONLY = {
    "engine": {"base"},
    "kv": {"engine", "base"},
    "seats": {"kv", "engine", "base"},
    "batching": {"seats", "kv", "engine", "base"},
}
ONLY_IN = {
    "llama_cpp": ("trillama/engine/",),
    "ctypes": ("trillama/engine/",),
    "quart": ("trillama/app", "trillama/api/", "trillama/commands/serve"),
    "quart_trio": ("trillama/app", "trillama/api/", "trillama/commands/serve"),
    "hypercorn": ("trillama/app", "trillama/api/", "trillama/commands/serve"),
}
WITHOUT_TRIO = (
    "trillama/base/",
    "trillama/wire/",
    "trillama/prompts/",
    "trillama/kv",
    "trillama/engine/sampling",
    "trillama/models/modelfile",
    "trillama/models/manifest",
    "trillama/models/gguf",
)
READS_ENVIRONMENT = {"trillama/base/settings.py"}

FILE_LINES = 400
FUNCTION_LINES = 40
PARAMETERS = 5
MOST_EXCEPTIONS = 3
EXCEPTIONS: dict[str, str] = {}
"""``path`` or ``path::function`` to the reason why it may be larger. The list may only shrink."""

IMPORT_NAMES = {"llama-cpp-python": "llama_cpp", "pillow": "PIL"}


def own(module: Module) -> Iterator[str]:
    """The units a module imports; "" where it asks the package itself, say for its version."""
    for name in module.imports():
        package, _, rest = name.partition(".")
        if package == "trillama":
            unit = rest.partition(".")[0]
            yield unit if unit in FLOORS or (PACKAGE / unit).is_dir() else ""


def upward(module: Module) -> list[str]:
    """Imports that break the order of the floors, as sentences."""
    below = HOUSE[HOUSE.index(module.unit) :] if module.unit in HOUSE else ()
    allowed = {"", *below}
    return [f"{module.place} imports {unit}" for unit in own(module) if unit not in allowed]


def oversized(module: Module) -> Iterator[tuple[str, str]]:
    """(what, why) for the file and every function past its budget."""
    lines = len(module.path.read_text("utf-8").splitlines())
    if lines > FILE_LINES:
        yield module.place, f"{lines} lines"
    for function in module.functions():
        name = f"{module.place}::{function.name}"
        if code_lines(function) > FUNCTION_LINES:
            yield name, f"{code_lines(function)} lines"
        if parameters(function) > PARAMETERS:
            yield name, f"{parameters(function)} parameters"


def top(name: str) -> str:
    return name.partition(".")[0]


def test_every_room_has_its_floor() -> None:
    """Nothing lies directly under the package that FLOORS does not name."""
    rooms = {module.unit for module in modules()} - {""}
    assert rooms <= set(HOUSE), f"not on any floor: {sorted(rooms - set(HOUSE))}"


def test_imports_only_go_down() -> None:
    """A unit imports only units to its right, wherever in the file the import stands."""
    assert [line for module in modules() for line in upward(module)] == []


def test_the_map_in_the_package_and_in_the_documents_is_this_one() -> None:
    """Whoever reads the package or ARCHITECTURE.md reads the order that is enforced."""
    for path in (PACKAGE / "__init__.py", ROOT / "docs" / "ARCHITECTURE.md"):
        text = re.sub(r"\s+", " ", path.read_text("utf-8"))
        assert " > ".join(FLOORS) in text, f"{path.name} shows another order"


@pytest.mark.parametrize("unit", SEES_ONLY)
def test_the_engine_floors_know_tokens_not_models(unit: str) -> None:
    """The machine and the step loop never see JSON, model names or templates."""
    allowed = SEES_ONLY[unit] | {unit, ""}
    found = [
        f"{module.place} imports {seen}"
        for module in modules()
        if module.unit == unit
        for seen in own(module)
        if seen not in allowed
    ]
    assert found == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_behind_its_fence(library: str) -> None:
    """One door to llama.cpp, and one corner that knows the web framework."""
    found = [
        module.place
        for module in modules()
        if library in map(top, module.imports()) and not module.place.startswith(ONLY_IN[library])
    ]
    assert found == []


def test_the_pure_rooms_do_not_know_trio() -> None:
    """Words, templates and book-keeping can be driven by a plain loop."""
    found = [
        module.place
        for module in modules()
        if module.place.startswith(WITHOUT_TRIO)
        and {"trio", "anyio"}.intersection(map(top, module.imports()))
    ]
    assert found == []


def test_only_settings_read_the_environment() -> None:
    """What a process does follows from one frozen struct."""
    assert {m.place for m in modules() if m.reads_environment()} <= READS_ENVIRONMENT


def test_every_library_is_declared() -> None:
    """Whatever is imported stands in pyproject.toml, so that a plain install is complete."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = [re.split(r"[<>=\[;~! ]", line)[0] for line in project["dependencies"]]
    declared = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}
    known = declared | sys.stdlib_module_names | {"trillama"}
    found = {
        f"{module.place} imports {top(name)}"
        for module in modules()
        for name in module.imports()
        if top(name) not in known
    }
    assert found == set()


def test_files_and_functions_keep_their_budgets() -> None:
    """Small enough to be read in one go; exceptions stand in this file by name."""
    found = [
        f"{what}: {why}"
        for module in (*modules(), *modules(ROOT / "tools"))
        for what, why in oversized(module)
        if what not in EXCEPTIONS
    ]
    assert found == []


def test_exceptions_are_few_and_still_needed() -> None:
    """The list of exceptions may only shrink."""
    needed = {what for module in modules() for what, _ in oversized(module)}
    assert set(EXCEPTIONS) <= needed
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS


def test_every_module_says_what_it_is_for() -> None:
    """A reader learns from the first lines whether this is the room they look for."""
    assert [module.place for module in modules() if not ast.get_docstring(module.tree)] == []


HIDDEN = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from trillama.app import create
def later():
    from . import cli
    import trillama.api.turn
    importlib.import_module("trillama.commands")
"""


def test_the_rules_see_hidden_imports() -> None:
    """An import cannot hide in a function, behind TYPE_CHECKING, in dots or in a string."""
    module = parse(HIDDEN, "trillama.kv")
    assert sorted(own(module)) == ["api", "app", "cli", "commands"]
    assert len(upward(module)) == 4


def test_dots_are_counted_from_the_right_folder() -> None:
    """Two dots in a module leave its folder; two in a package's own file leave the package."""
    line = "from ..base import errors"
    assert list(parse(line, "trillama.api.turn").imports()) == ["trillama.base.errors"]
    package = parse(line, "trillama.api", is_package=True)
    assert list(package.imports()) == ["trillama.base.errors"]


def test_the_rules_see_the_environment_by_any_road() -> None:
    """os.environ, os.getenv and names imported from os are all reading the environment."""
    for line in (
        "import os; os.environ['A']",
        "import os; os.getenv('A')",
        "from os import environ",
    ):
        assert parse(line, "trillama.kv").reads_environment()
    assert not parse("import os; os.path.join('a')", "trillama.kv").reads_environment()


def test_the_budget_counts_code_and_parameters() -> None:
    """A docstring is free, self is free, keyword-only parameters are not."""
    text = 'class A:\n def f(self, a, /, b, *, c):\n  """One\n\n  two."""\n  return a\n'
    (function,) = parse(text, "trillama.kv").functions()
    assert code_lines(function) == 2
    assert parameters(function) == 3
