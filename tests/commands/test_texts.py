"""``tokenize``, ``embed``, ``config`` and ``bench`` as a shell sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted import Scripted, scripted_server
from tests.test_cli import trillama
from trillama.base.errors import SettingError
from trillama.base.settings import Settings, explain_settings, load_settings, without_effect
from trillama.commands.bench import questions
from trillama.commands.config import configured

PIECES = [{"id": 7, "piece": "Hi"}, {"id": 8, "piece": ' "'}, {"id": 200, "piece": [226, 156]}]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A loopback server for one test."""
    with scripted_server() as script:
        script.answers["/api/tokenize"] = 200, {"tokens": [7, 8, 200], "count": 3, "pieces": PIECES}
        script.answers["/api/embed"] = 200, {"embeddings": [[0.5, 1], [2, 3]]}
        yield script


def test_tokens_are_shown_with_their_texts(scripted: Scripted) -> None:
    """A line each; bytes that are no text by themselves as hex."""
    done = trillama("tokenize", "tiny", "Hi", '"', port=scripted.port)
    assert done.stdout == '       7  "Hi"\n       8  " \\""\n     200  e2 9c\n'
    assert scripted.asked[-1][2]["content"] == 'Hi "'


def test_tokens_may_be_counted_or_json(scripted: Scripted) -> None:
    """For scripts; the text may come from a pipe."""
    assert trillama("tokenize", "tiny", "--count", stdin="a\n", port=scripted.port).stdout == "3\n"
    assert scripted.asked[-1][2]["content"] == "a\n"
    done = trillama("tokenize", "tiny", "--json", "x", port=scripted.port)
    assert json.loads(done.stdout)["tokens"] == [7, 8, 200]


def test_vectors_are_lines_of_json(scripted: Scripted) -> None:
    """One for each argument, or for each line of a pipe."""
    done = trillama("embed", "m", "a", "b c", "--dimensions", "2", port=scripted.port)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[0.5, 1], [2, 3]]
    body = {"model": "m", "input": ["a", "b c"], "dimensions": 2}
    assert scripted.asked[-1][2] == body
    trillama("embed", "m", stdin="x\ny\n", port=scripted.port)
    assert scripted.asked[-1][2]["input"] == ["x", "y"]


def test_no_text_is_an_error(scripted: Scripted) -> None:
    """It says how to give one."""
    done = trillama("embed", "m", port=scripted.port)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("Error: nothing to embed: trillama embed MODEL")


def test_every_setting_tells_where_it_comes_from(tmp_path: Path) -> None:
    """File, variable or default; ours wins over Ollama's."""
    file = tmp_path / "trillama.toml"
    file.write_text("max_queue = 7\nnum_parallel = 3\n")
    environ = {"HOME": str(tmp_path), "TRILLAMA_CONFIG": str(file), "OLLAMA_NUM_PARALLEL": "5"}
    environ |= {"OLLAMA_HOST": "a", "TRILLAMA_HOST": "b"}
    found = {name: (value, origin) for name, value, origin in explain_settings(environ)}
    assert list(found) == list(Settings.__struct_fields__)
    assert found["max_queue"] == (7, str(file))
    assert found["num_parallel"] == (5, "OLLAMA_NUM_PARALLEL")
    assert found["host"] == ("b", "TRILLAMA_HOST")
    assert found["models"] == (str(tmp_path / ".ollama/models"), "default")
    assert found["keep_alive"][1] == "default"


def test_the_older_variables_are_known() -> None:
    """One is honoured, the others are named with the reason why they do nothing."""
    found = dict(without_effect({"OLLAMA_MULTIUSER_CACHE": "1", "OLLAMA_NUM_PARALLEL": "2"}))
    assert list(found) == ["OLLAMA_MULTIUSER_CACHE"]
    layers = {n: v for n, v, _ in explain_settings({"OLLAMA_GPU_LAYERS": "9", "HOME": "/"})}
    assert layers["gpu_layers"] == 9
    with pytest.raises(SettingError, match="OLLAMA_GPU_LAYERS='many'"):
        explain_settings({"OLLAMA_GPU_LAYERS": "many", "HOME": "/"})


def test_config_is_a_table_or_json() -> None:
    """Durations as people write them."""
    lines = trillama("config").stdout.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "FROM", "VARIABLE"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["keep_alive"] == ["5m0s", "default", "OLLAMA_KEEP_ALIVE"]
    assert rows["host"][1] == "OLLAMA_HOST"
    records = json.loads(trillama("config", "--json").stdout)
    assert {"setting": "max_queue", "value": 512, "from": "default"} in records


def test_config_hides_the_password_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table may be shown to others; so may an error about a proxy or a registry."""
    for scheme in ("http://", ""):
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}ann:secret@proxy.test:3128")
        for as_json in (False, True):
            shown = configured(as_json=as_json)
            assert "***@proxy.test:3128" in shown
            assert "secret" not in shown


def test_config_shows_every_duration_as_people_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nanoseconds are nobody's unit."""
    suffixes = ("KEEP_ALIVE", "LOAD_TIMEOUT", "REQUEST_TIMEOUT", "DRAIN_TIMEOUT", "STALL_TIMEOUT")
    for suffix in (*suffixes, "PULL_PATIENCE"):
        monkeypatch.setenv(f"TRILLAMA_{suffix}", "90s")
        records = {one["setting"]: one for one in json.loads(configured(as_json=True))}
        assert records[suffix.lower()]["value"] == "1m30s"


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("HOST", "127.0.0.1:eleven"),
        ("HOST", "ftp://here"),
        ("HOST", "here:99999"),
        ("HOST", f"{'a' * 64}:11434"),
        ("ORIGINS", "example.com"),
        ("ORIGINS", "http://*.a.*"),
    ],
)
def test_a_malformed_address_names_where_it_stands(tmp_path: Path, suffix: str, text: str) -> None:
    """Our variable, Ollama's, or the file: whichever has to be mended, before a server starts."""
    for variable in (f"TRILLAMA_{suffix}", f"OLLAMA_{suffix}"):
        with pytest.raises(SettingError, match=f"^{variable}="):
            explain_settings({variable: text, "HOME": "/"})
    file = tmp_path / "trillama.toml"
    file.write_text(f'{suffix.lower()} = "{text}"')
    with pytest.raises(SettingError, match=f"trillama.toml: {suffix.lower()}: "):
        explain_settings({"TRILLAMA_CONFIG": str(file), "HOME": "/"})


def test_a_malformed_flag_is_named_too() -> None:
    """Not a variable that is not set."""
    with pytest.raises(SettingError, match=r"^--host='here:99999': "):
        load_settings({"HOME": "/"}, {"host": "here:99999"})


def test_keys_of_the_file_are_suffixes_in_lower_case(tmp_path: Path) -> None:
    """All of them, as the documents say, those that are two words here included."""
    file = tmp_path / "trillama.toml"
    file.write_text("nohistory = true\nnoprune = true\n")
    settings = load_settings({"TRILLAMA_CONFIG": str(file), "HOME": "/"})
    assert (settings.no_history, settings.noprune) == (True, True)


def test_bench_is_a_door_to_the_measurements(tmp_path: Path) -> None:
    """Their own arguments reach them; a name that is none lists those that are."""
    assert "versus" in questions()
    assert questions(tmp_path) == []
    done = trillama("bench", "load", "--help")
    assert "--clients" in done.stdout
    assert done.returncode == 0
    wrong = trillama("bench", "nonsense")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith('Error: no measurement "nonsense": ')
    assert "versus" in wrong.stderr
