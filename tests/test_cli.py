"""The command line against a server that says what the test wants, and against none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted import Scripted, scripted_server

LONG_AGO, FAR_AHEAD = "2020-01-01T00:00:00.123456789+02:00", "2319-01-01T00:00:00Z"
TINY = {"name": "tiny:latest", "size": 4_661_224_676, "digest": "a" * 64}
OTHER = {"name": "Other:7b", "size": 999, "digest": "b" * 64}
TAGS = {"models": [model | {"modified_at": LONG_AGO} for model in (TINY, OTHER)]}
LOADED = {"size": 100, "size_vram": 0, "context_length": 4096, "expires_at": FAR_AHEAD}
PS = {"models": [TINY | LOADED]}
THINK_WORDS = "must be true, false, high, medium, low, or max"


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A loopback server for one test."""
    with scripted_server() as script:
        yield script


def trillama(*words: str, port: int = 9, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a shell would."""
    return subprocess.run(
        [sys.executable, "-m", "trillama", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={"OLLAMA_HOST": f"127.0.0.1:{port}", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        check=False,
    )


def test_list_prints_the_table_and_filters_in_any_case(scripted: Scripted) -> None:
    """Columns are those scripts cut; the prefix ignores case."""
    scripted.answers["/api/tags"] = 200, TAGS
    done = trillama("list", port=scripted.port)
    name, size = "tiny:latest    aaaaaaaaaaaa    4.7 GB    ", "999 B     "
    header, first, second = done.stdout.splitlines()
    assert header.startswith("NAME           ID              SIZE      MODIFIED")
    assert first.startswith(name)
    assert size in second
    assert done.returncode == 0
    only = trillama("ls", "oth", port=scripted.port).stdout.splitlines()
    assert [line.split()[0] for line in only] == ["NAME", "Other:7b"]


def test_ps_shows_where_and_until_when(scripted: Scripted) -> None:
    """An infinite keep-alive reads Forever."""
    scripted.answers["/api/ps"] = 200, PS
    row = trillama("ps", port=scripted.port).stdout.splitlines()[1]
    assert row.split() == [
        "tiny:latest",
        "aaaaaaaaaaaa",
        "100",
        "B",
        "100%",
        "CPU",
        "4096",
        "Forever",
    ]


def test_stop_unloads_by_an_empty_prompt(scripted: Scripted) -> None:
    """Nothing is printed, and the request is the one Ollama's client sends."""
    done = trillama("stop", "tiny", port=scripted.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ("POST", "/api/generate", {"model": "tiny", "keep_alive": 0}) in scripted.asked


def test_stopping_what_is_not_there_names_it(scripted: Scripted) -> None:
    """The server's 404 becomes the command's own words."""
    scripted.answers["/api/generate"] = 404, {"error": "model 'nope' not found"}
    done = trillama("stop", "nope", port=scripted.port)
    assert done.stderr == 'Error: couldn\'t find model "nope" to stop\n'
    assert done.returncode == 1


def test_run_streams_the_answer_and_joins_stdin_with_words(scripted: Scripted) -> None:
    """Piped text comes first, then the words; the answer goes to stdout alone."""
    scripted.answers["/api/generate"] = (
        200,
        [
            {"response": "", "thinking": "Let me see."},
            {"response": "It is "},
            {"response": "Paris."},
            {"response": "", "done": True, "eval_count": 2, "eval_duration": 10**9},
        ],
    )
    done = trillama("run", "tiny", "in one word", "--verbose", port=scripted.port, stdin="capital?")
    body = next(body for _, path, body in scripted.asked if path == "/api/generate")
    assert body == {"model": "tiny", "prompt": "capital? in one word"}
    shown = "Thinking...\nLet me see.\n...done thinking.\n\nIt is Paris.\n\n"
    assert done.stdout == shown
    assert "eval rate:            2.00 tokens/s\n" in done.stderr


def test_an_error_in_mid_stream_is_an_error(scripted: Scripted) -> None:
    """What was shown stays, the words go to stderr, the status is 1."""
    scripted.answers["/api/generate"] = 200, [{"response": "It"}, {"error": "it broke"}]
    done = trillama("run", "tiny", "x", port=scripted.port)
    assert (done.stdout, done.stderr, done.returncode) == ("It", "Error: it broke\n", 1)


def test_a_refused_stream_shows_the_status(scripted: Scripted) -> None:
    """Streaming calls put the status line in front, as Ollama's do."""
    scripted.answers["/api/generate"] = 400, {"error": '"x" does not support thinking'}
    done = trillama("run", "x", "hi", "--think", port=scripted.port)
    assert done.stderr == 'Error: 400 Bad Request: "x" does not support thinking\n'


ANSWERED = 200, [{"response": "It"}, {"done": True}]


@pytest.mark.parametrize(
    ("redirection", "output", "error", "status"),
    [
        ("<&-", "It\n\n", "", 0),
        (">&-", "", "", 0),
        ("<&- >&- 2>&-", "", "", 0),
        (">/dev/full", "", "Error: No space left on device\n", 1),
    ],
)
def test_streams_may_be_closed_or_full(
    scripted: Scripted, redirection: str, output: str, error: str, status: int
) -> None:
    """Whoever starts us without a stream means an empty one; a full disk is one line."""
    scripted.answers["/api/generate"] = ANSWERED
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m trillama run tiny hi {redirection}', sys.executable],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        env={"OLLAMA_HOST": f"127.0.0.1:{scripted.port}", "HOME": "/nonexistent"},
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (output, error, status)


def test_bytes_that_are_no_text_are_replaced(scripted: Scripted) -> None:
    """In arguments and in what is piped, whatever the locale."""
    scripted.answers["/api/generate"] = ANSWERED
    for locale in ("C", "C.UTF-8"):
        subprocess.run(
            [sys.executable, "-m", "trillama", "run", "tiny", b"b\xff"],
            input=b"a\xff",
            capture_output=True,
            timeout=60,
            env={"OLLAMA_HOST": f"127.0.0.1:{scripted.port}", "LC_ALL": locale},
            check=True,
        )
        assert scripted.asked[-1][2]["prompt"] == "a\ufffd b\ufffd"


def test_what_the_system_refuses_is_one_line(tmp_path: Path, scripted: Scripted) -> None:
    """The file and the reason, not where in our program it happened."""
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(f"FROM {'x' * 300}\n", "utf-8")
    done = trillama("create", "new", "-f", str(modelfile), port=scripted.port)
    assert done.stderr == f"Error: {tmp_path / ('x' * 300)}: File name too long\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frob"], 'unknown command "frob" for "trillama"'),
        (["list", "--frob"], "unknown flag: --frob"),
        (["list", "-x"], "unknown shorthand flag: 'x' in -x"),
        (["stop"], "accepts 1 arg(s), received 0"),
        (["stop", "a", "b"], "accepts 1 arg(s), received 2"),
        (["run"], "requires at least 1 arg(s), only received 0"),
        (["serve", "x"], "accepts 0 arg(s), received 1"),
        (["list"], "could not connect to trillama server, run 'trillama serve' to start it"),
        (["run", "m", "x", "--think=often"], f'invalid value for --think: "often" ({THINK_WORDS})'),
        (["run", "m", "x", "--keepalive", "300"], 'time: missing unit in duration "300"'),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_on_stderr(words: list[str], message: str) -> None:
    """Every mistake exits with 1 and says what it is, without a usage text."""
    done = trillama(*words)
    assert (done.stderr, done.stdout, done.returncode) == (f"Error: {message}\n", "", 1)


def test_version_works_without_a_server() -> None:
    """The client's own version is told, and the exit status is 0."""
    done = trillama("--version")
    assert "Warning: could not connect to a running trillama instance" in done.stdout
    assert "Warning: client version is" in done.stdout
    assert done.returncode == 0


def test_help_lists_the_commands_in_table_order() -> None:
    """Help goes to stdout and names every verb."""
    done = trillama("--help")
    names = [line.split()[0] for line in done.stdout.split("Commands:")[1].strip().splitlines()]
    assert names[:5] == ["serve", "create", "show", "run", "stop"]
    assert trillama("help", "run").stdout.startswith("Usage: trillama run")


@pytest.mark.parametrize("words", [["--help"], ["list"], ["ps", "--json"]])
def test_quick_commands_import_no_server(scripted: Scripted, words: list[str]) -> None:
    """Neither trio nor quart nor llama.cpp nor numpy is imported, in the whole process."""
    scripted.answers |= {"/api/tags": (200, TAGS), "/api/ps": (200, PS)}
    code = (
        "import atexit, sys; from trillama import cli;"
        "heavy = {'trio', 'quart', 'hypercorn', 'llama_cpp', 'httpx', 'numpy', 'prompt_toolkit'};"
        "atexit.register(lambda: print(sorted(heavy & sys.modules.keys()), file=sys.stderr));"
        "cli.main()"
    )
    env = {"OLLAMA_HOST": f"127.0.0.1:{scripted.port}", "HOME": "/nonexistent", "PATH": "/bin"}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stderr == "[]\n"


def test_lists_may_be_json(scripted: Scripted) -> None:
    """The server's own records, filtered as the table is."""
    scripted.answers |= {"/api/tags": (200, TAGS), "/api/ps": (200, PS)}
    listed = json.loads(trillama("list", "--json", "oth", port=scripted.port).stdout)
    assert [one["name"] for one in listed] == ["Other:7b"]
    assert json.loads(trillama("ps", "--json", port=scripted.port).stdout) == PS["models"]


def completed(port: int, *words: str) -> list[str]:
    """What bash is offered behind these words."""
    done = subprocess.run(
        [sys.executable, "-c", "from trillama import cli; cli.main()"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "HOME": "/nonexistent",
            "PATH": "/usr/bin:/bin",
            "_TRILLAMA_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["trillama", *words]),
            "COMP_CWORD": str(len(words)),
        },
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_shells_complete_commands_and_models(scripted: Scripted) -> None:
    """A model's name where one belongs, without the tag that goes without saying."""
    scripted.answers["/api/tags"] = 200, TAGS
    assert completed(scripted.port, "st") == ["stop"]
    assert completed(scripted.port, "run", "ti") == ["tiny"]
    assert completed(scripted.port, "stop", "Oth") == ["Other:7b"]
    assert completed(scripted.port, "run", "tiny", "ti") == []
    assert completed(9, "run", "ti") == []
    assert "_TRILLAMA_COMPLETE=fish_complete" in trillama("completion", "fish").stdout
    assert trillama("completion", "tcsh").stderr.startswith('Error: unknown shell "tcsh"')


def test_an_unknown_model_is_an_error_on_stderr(scripted: Scripted) -> None:
    """Status 1; what cannot be pulled is named, nothing goes to stdout."""
    scripted.answers["/api/show"] = 404, {"error": "model 'nope' not found"}
    scripted.answers["/api/pull"] = 200, [{"error": "pull model manifest: file does not exist"}]
    done = trillama("run", "nope", "x", port=scripted.port)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.endswith("Error: pull model manifest: file does not exist\n")


@pytest.mark.parametrize("name", ["serve", "create", "show", "run", "stop", "list", "ps", "rm"])
def test_help_shows_an_example(name: str) -> None:
    """One each, and the status is 0."""
    done = trillama(name, "--help")
    assert "\nExample:\n  " in done.stdout
    assert f"trillama {name}" in done.stdout.split("Example:")[1]
    assert done.returncode == 0
