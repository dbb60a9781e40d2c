"""``trillama show``: what a model is, in sections, or one of its texts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from trillama.base.errors import BadRequest
from trillama.models.capabilities import size_text

from .client import Client
from .console import CELL_GAP, display_width

WIDTH = 100
"""Columns of a line of a system text or a license."""

LINES = 2
"""Lines of these that are shown."""

ARRAY_WIDTH = 10
Row = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """The flags of ``show``; see ``trillama show --help``."""

    license: bool = False
    modelfile: bool = False
    parameters: bool = False
    template: bool = False
    system: bool = False
    verbose: bool = False

    @property
    def selected(self) -> str:
        """The one text that is wanted, "" for the overview.

        Raises:
            BadRequest: several are.
        """
        names = [one.name for one in fields(self) if one.name != "verbose"]
        chosen = [name for name in names if getattr(self, name)]
        if len(chosen) > 1:
            raise BadRequest(
                "only one of '--license', '--modelfile', '--parameters', '--system', or "
                "'--template' can be specified"
            )
        return chosen[0] if chosen else ""


def shown(client: Client, name: str, options: ShowOptions) -> str:
    """What to print.

    Raises:
        ServerRefused: there is no such model.
    """
    selected = options.selected
    model = client.call("POST", "/api/show", {"model": name, "verbose": options.verbose})
    if selected:
        text = str(model.get(selected, ""))
        return text if selected in ("system", "template") else f"{text}\n"
    return overview(model, verbose=options.verbose)


def overview(model: dict[str, Any], *, verbose: bool = False) -> str:
    """Sections: a title, rows of cells, an empty line."""
    sections: list[tuple[str, list[Row]]] = [
        ("Model", list(_model(model))),
        ("Capabilities", [(one,) for one in model.get("capabilities") or ()]),
        ("Projector", list(_projector(model.get("projector_info") or {}))),
        ("Parameters", [_pair(line) for line in (model.get("parameters") or "").splitlines()]),
    ]
    if verbose:
        info = model.get("model_info") or {}
        sections.append(("Metadata", [(key, plain(info[key])) for key in sorted(info)]))
        sections.append(("Tensors", [_tensor(one) for one in model.get("tensors") or ()]))
    sections += [
        (title, list(_beginning(model.get(title.lower()) or ""))) for title in ("System", "License")
    ]
    return "".join(section(title, rows) for title, rows in sections if rows)


def section(title: str, rows: list[Row]) -> str:
    """A title, and rows of cells below it in columns."""
    widths = [
        max(display_width(row[column]) for row in rows if column < len(row))
        for column in range(max(map(len, rows)))
    ]
    lines = [f"  {title}"]
    for row in rows:
        cells = (
            cell + " " * (width - display_width(cell))
            for cell, width in zip(row, widths, strict=False)
        )
        lines.append(CELL_GAP + "".join(f"{cell}{CELL_GAP}" for cell in cells))
    return "\n".join(lines) + "\n\n"


def _model(model: dict[str, Any]) -> Iterator[Row]:
    details, info = model.get("details") or {}, model.get("model_info") or {}
    if model.get("remote_host"):
        yield "Remote model", model.get("remote_model", "")
        yield "Remote URL", model["remote_host"]
    architecture = info.get("general.architecture") or details.get("family") or ""
    yield "architecture", architecture
    size = details.get("parameter_size")
    if not size and info.get("general.parameter_count"):
        size = size_text(int(info["general.parameter_count"]))
    yield "parameters", size or ""
    for what in ("context length", "embedding length"):
        value = info.get(f"{architecture}.{what.replace(' ', '_')}")
        if value is not None:
            yield what, str(value)
    yield "quantization", details.get("quantization_level") or ""
    if model.get("requires"):
        yield "requires", model["requires"]


def _projector(info: dict[str, Any]) -> Iterator[Row]:
    if not info:
        return
    architecture = info.get("general.architecture", "")

    def sought(name: str) -> str:
        keys = (f"{architecture}.{kind}.{name}" for kind in ("vision", "audio"))
        return next((str(info[key]) for key in keys if key in info), "")

    yield "architecture", architecture
    yield "parameters", size_text(int(info.get("general.parameter_count", 0)))
    yield "embedding length", sought("embedding_length")
    yield "dimensions", sought("projection_dim")


def _pair(line: str) -> Row:
    name, _, value = line.partition(" ")
    return name, value.strip()


def _tensor(tensor: dict[str, Any]) -> Row:
    return tensor["name"], tensor["type"], f"[{' '.join(map(str, tensor['shape']))}]"


def plain(value: Any) -> str:
    """A value of the metadata in few characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.6g}" if isinstance(value, float) or abs(value) >= 10**21 else str(value)
    if isinstance(value, list):
        return _array(value)
    return "" if value is None else str(value)


def _array(items: list[Any]) -> str:
    kept: list[str] = []
    for item in items:
        if len(" ".join(kept)) >= ARRAY_WIDTH:
            break
        kept.append(plain(item))
    rest = len(items) - len(kept)
    return f"[{' '.join(kept)}{f' ...+{rest} more' if rest else ''}]"


def _beginning(text: str) -> Iterator[Row]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines[:LINES]:
        for part in textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False):
            yield (part,)
    if len(lines) > LINES:
        yield ("...",)
