"""The documents agree with the code, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.source import PACKAGE, ROOT, modules
from trillama.base.settings import Settings, variable_names
from trillama.cli import table

ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "bench").glob("*.md")]
)
OUTSIDE_SETTINGS = {"CONFIG"}  # names the settings file itself, so it cannot stand in it
SHAPES = re.compile(r"[<>*…{]")  # `wire/<it>.py` is a pattern, not a file


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_spans(text: str) -> set[str]:
    """What stands between single backticks, fenced blocks left out."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def section(text: str, title: str) -> str:
    """The part of a document under ``## title``."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"no section {title!r}"
    return found[1]


def recipes() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))


def exists(place: str) -> bool:
    """Whether a place on the map is there: seen from the package, from the repository, or, for a
    file without its folder, from the room whose row it stands in."""
    seen_from = (PACKAGE, ROOT) if "/" in place else (PACKAGE, ROOT, *PACKAGE.iterdir())
    folder = place.removesuffix(".py")  # a module that became a folder keeps its name in prose
    return any((root / p).exists() for root in seen_from for p in (place, folder))


def test_every_place_on_the_map_exists() -> None:
    """A file or folder that ARCHITECTURE.md names is there."""
    spans = code_spans(ARCHITECTURE.read_text("utf-8"))
    places = {s for s in spans if re.fullmatch(r"\.?[\w./-]+(\.py|/|\.md|\.toml)", s)}
    ours = {s for s in places if not SHAPES.search(s) and s != "trillama.toml"}
    assert len(ours) > 10
    assert sorted(place for place in ours if not exists(place)) == []


def test_every_room_is_on_the_map() -> None:
    """Whatever lies directly under trillama/ has its row in ARCHITECTURE.md."""
    spans = code_spans(ARCHITECTURE.read_text("utf-8"))
    named = {span.rstrip("/").removesuffix(".py") for span in spans}
    rooms = {module.unit for module in modules()} - {"", "__main__"}
    assert rooms <= named, f"not on the map: {sorted(rooms - named)}"


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    """The table of settings is the list of settings."""
    rows = re.findall(
        r"^\| ([A-Z_, ]+) \|", section(ARCHITECTURE.read_text("utf-8"), "Settings"), re.MULTILINE
    )
    documented = {word for row in rows for word in re.findall(r"[A-Z_]+", row)}
    suffixes = {
        variable_names(field)[0].removeprefix("TRILLAMA_") for field in Settings.__struct_fields__
    }
    assert documented == suffixes | OUTSIDE_SETTINGS


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_variable_named_anywhere_is_read(document: Path) -> None:
    """A variable that a document mentions does something."""
    known = {name for field in Settings.__struct_fields__ for name in variable_names(field)}
    known |= {f"TRILLAMA_{word}" for word in OUTSIDE_SETTINGS} | {"TRILLAMA_X", "OLLAMA_X"}
    mentioned = set(
        re.findall(r"\b(?:TRILLAMA|OLLAMA)_[A-Z_]*[A-Z]\b", document.read_text("utf-8"))
    )
    assert mentioned <= known


def test_every_variable_of_the_unit_file_is_read() -> None:
    """The systemd unit sets nothing that is ignored."""
    unit = (ROOT / "contrib" / "trillama.service").read_text("utf-8")
    known = {name for field in Settings.__struct_fields__ for name in variable_names(field)}
    assert set(re.findall(r"\bTRILLAMA_[A-Z_]+", unit)) <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_recipe_named_anywhere_exists(document: Path) -> None:
    """``make X`` in a document is a target of the Makefile."""
    text = document.read_text("utf-8")
    code = "\n".join([*code_spans(text), *re.findall(r"```sh\n(.*?)```", text, re.DOTALL)])
    named = set(re.findall(r"(?:^|`|\s)make (?:[A-Z]+=\S+ )*([a-z][a-z0-9-]*)", code))
    assert named <= recipes()


def test_the_readme_shows_the_two_commands() -> None:
    """Set-up is `make run` and `make test`, and README says so."""
    block = re.search(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert block
    assert re.findall(r"^make (\w+)", block[1], re.MULTILINE) == ["run", "test"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_verb_named_anywhere_exists(document: Path) -> None:
    """``trillama X`` in a document is a command."""
    text = document.read_text("utf-8")
    shell = "\n".join([*code_spans(text), *re.findall(r"```sh\n(.*?)```", text, re.DOTALL)])
    named = set(re.findall(r"^(?:\S*/)?trillama ([a-z]+)", shell, re.MULTILINE))
    assert named <= set(table.commands)


def test_every_verb_is_in_the_readme() -> None:
    """A command that nobody can find is not there."""
    text = (ROOT / "README.md").read_text("utf-8")
    missing = [verb for verb in set(table.commands) - {"help"} if f"trillama {verb}" not in text]
    assert sorted(missing) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Links to files and to sections inside the repository are whole."""
    text = document.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in anchors, target
