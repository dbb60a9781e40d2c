"""What the listing commands print, byte for byte, and what failures print where.

Columns, units and words are those of the reference's tables; times are long past or far ahead, so
that no clock changes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.scripted import Scripted, scripted_server
from tests.test_cli import trillama


def ago(**span: float) -> str:
    """A time that is some span ago by the time it is shown."""
    return (datetime.now(UTC) - timedelta(**span, seconds=5)).isoformat()


def model(name: str, size: int, modified: str, **more: Any) -> dict[str, Any]:
    digest = f"{len(name):064x}"[::-1]
    return {"name": name, "size": size, "digest": digest, "modified_at": modified, **more}


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A loopback server for one test."""
    with scripted_server() as script:
        yield script


def test_list(scripted: Scripted) -> None:
    """Widest cells, four blanks behind each, decimal units, rounded spans of time."""
    scripted.answers["/api/tags"] = (
        200,
        {
            "models": [
                model("llama3.2:latest", 2_019_393_189, ago(minutes=3)),
                model("模型:7b", 999, ago(days=17)),
                model("me/mine:q4", 64_000_000, ago(hours=26)),
                model("cloud:latest", 384, ago(days=400), remote_model="big"),
            ]
        },
    )
    assert trillama("list", port=scripted.port).stdout == (
        "NAME               ID              SIZE      MODIFIED      \n"
        "llama3.2:latest    f00000000000    2.0 GB    3 minutes ago    \n"
        "模型:7b            500000000000    999 B     2 weeks ago      \n"
        "me/mine:q4         a00000000000    64 MB     26 hours ago     \n"
        "cloud:latest       c00000000000    -         13 months ago    \n"
    )


def test_ps(scripted: Scripted) -> None:
    """Where the weights are, and until when."""

    def loaded(name: str, size: int, vram: int, until: str) -> dict[str, Any]:
        more = {"size_vram": vram, "context_length": 4096, "expires_at": until}
        return model(name, size, "", **more)

    soon = (datetime.now(UTC) + timedelta(minutes=4, seconds=5)).isoformat()
    scripted.answers["/api/ps"] = (
        200,
        {
            "models": [
                loaded("a:latest", 6_654_289_920, 6_654_289_920, "2319-01-01T00:00:00Z"),
                loaded("b:latest", 1000, 0, "2020-01-01T00:00:00Z"),
                loaded("c:latest", 1000, 480, soon),
            ]
        },
    )
    assert trillama("ps", port=scripted.port).stdout == (
        "NAME        ID              SIZE      PROCESSOR          CONTEXT    UNTIL              \n"
        "a:latest    800000000000    6.7 GB    100% GPU           4096       Forever           "
        "    \n"
        "b:latest    800000000000    1 KB      100% CPU           4096       Stopping...       "
        "    \n"
        "c:latest    800000000000    1 KB      52%/48% CPU/GPU    4096       4 minutes from now"
        "    \n"
    )


def test_empty_lists_are_headers(scripted: Scripted) -> None:
    """As scripts expect that count lines."""
    scripted.answers |= {"/api/tags": (200, {"models": None}), "/api/ps": (200, {"models": []})}
    assert trillama("list", port=scripted.port).stdout == "NAME    ID    SIZE    MODIFIED \n"
    header = "NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL \n"
    assert trillama("ps", port=scripted.port).stdout == header


REFUSED = 404, {"error": "model 'm' not found"}
FAILURES = [
    (["list"], "/api/tags", "Error: model 'm' not found\n"),
    (["ps"], "/api/ps", "Error: model 'm' not found\n"),
    (["show", "m"], "/api/show", "Error: model 'm' not found\n"),
    (["cp", "m", "n"], "/api/copy", "Error: model 'm' not found\n"),
    (["stop", "m"], "/api/generate", 'Error: couldn\'t find model "m" to stop\n'),
    (["push", "reg.test/me/m"], "/api/push", "Error: 404 Not Found: model 'm' not found\n"),
    (["pull", "m"], "/api/pull", "Error: 404 Not Found: model 'm' not found\n"),
    (["tokenize", "m", "x"], "/api/tokenize", "Error: model 'm' not found\n"),
    (["embed", "m", "x"], "/api/embed", "Error: model 'm' not found\n"),
    (["create", "m", "-f", "/nowhere/Modelfile"], "/", "Error: "),
    (["rm", "m"], "/api/delete", "Error: model 'm' not found\n"),
]


@pytest.mark.parametrize(("words", "path", "says"), FAILURES, ids=[f[0][0] for f in FAILURES])
def test_failures_go_to_stderr(words: list[str], path: str, says: str, scripted: Scripted) -> None:
    """One line there, nothing on stdout, status 1."""
    if path != "/":
        scripted.answers[path] = REFUSED
    done = trillama(*words, port=scripted.port)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [["list"], ["ps"], ["show", "m"], ["pull", "m"], ["rm", "m"], ["cp", "a", "b"], ["stop", "m"]],
)
def test_without_a_server(words: list[str]) -> None:
    """The words everybody knows, on stderr; status 1."""
    done = trillama(*words, port=9)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (
        "Error: could not connect to trillama server, run 'trillama serve' to start it\n"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["frob"], 'unknown command "frob" for "trillama"'),
        (["list", "--frob"], "unknown flag: --frob"),
        (["show"], "accepts 1 arg(s), received 0"),
        (["cp", "a"], "accepts 2 arg(s), received 1"),
        (["rm"], "requires at least 1 arg(s), only received 0"),
        (["run", "m", "x", "--think=maybe"], 'invalid value for --think: "maybe"'),
        (["run", "m", "x", "--format", "{"], "invalid value for --format"),
        (["run", "m", "x", "--keepalive", "soon"], ""),
        (["completion", "tcsh"], 'unknown shell "tcsh"'),
        (["bench"], "requires at least 1 arg(s)"),
    ],
)
def test_wrong_command_lines(words: list[str], says: str) -> None:
    """Found before any server is asked; one line on stderr, status 1."""
    done = trillama(*words)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"Error: {says}")
    assert done.stderr.count("\n") == 1
