"""Reading trillama's own source as trees: what imports what, how long it is, what it asks for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "trillama"

ENVIRONMENT = frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file; ``name`` is dotted, ``is_package`` tells an ``__init__``."""

    path: Path
    name: str
    is_package: bool
    tree: ast.Module

    @property
    def place(self) -> str:
        """The path as people write it, from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def unit(self) -> str:
        """The room directly under the package; "" for the package's own ``__init__``."""
        return self.name.partition(".")[2].partition(".")[0]

    def imports(self) -> Iterator[str]:
        """Dotted names of all imports, at any depth: in functions and under TYPE_CHECKING too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif name := _named_at_run_time(node):
                yield name

    def functions(self) -> Iterator[Function]:
        """Every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def reads_environment(self) -> bool:
        """Whether it touches os.environ, os.environb or os.getenv, by whatever road."""
        by_attribute = {
            f"{node.value.id}.{node.attr}"
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        return not ENVIRONMENT.isdisjoint(by_attribute | set(self.imports()))

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        keep = len(parents) - node.level + (1 if self.is_package else 0)
        return ".".join([*parents[:keep], *filter(None, [node.module])])


def parse(text: str, name: str, *, is_package: bool = False) -> Module:
    """A module from a text, for testing the rules themselves."""
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return Module(path, name, is_package, ast.parse(text))


@cache
def modules(folder: Path = PACKAGE) -> tuple[Module, ...]:
    """All modules under a folder, data excepted."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if "data" not in parts:
            package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if package else parts)
            found.append(Module(path, name, package, ast.parse(path.read_text("utf-8"))))
    return tuple(found)


def code_lines(function: Function) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def parameters(function: Function) -> int:
    """How many values a caller may have to give; self and cls do not count."""
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def _named_at_run_time(node: ast.AST) -> str | None:
    """The module of ``import_module("x")`` and ``__import__("x")``."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return None
    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
    value = node.args[0].value
    return value if called in ("import_module", "__import__") and isinstance(value, str) else None
