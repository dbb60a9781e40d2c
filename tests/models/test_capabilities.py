"""Details and capabilities follow Ollama's rules."""

from __future__ import annotations

import pytest

from trillama.models.capabilities import WeightFacts, capabilities, details, size_text
from trillama.models.manifest import Config

GO_CHAT = "{{ if .Tools }}x{{ end }}{{ range .Messages }}<think>{{ .Thinking }}</think>{{ end }}"


def facts(**changes: object) -> WeightFacts:
    """Facts of a plain language model."""
    plain: dict[str, object] = {
        "architecture": "llama", "file_type": "Q4_K_M", "parameter_count": 1, "context_length": 9,
        "embedding_length": 8, "chat_template": "", "pooling": False, "vision": False,
        "audio": False, "audio_encoder": False,
    }  # fmt: skip
    return WeightFacts(**(plain | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (999, "999"), (1000, "1K"), (22_700, "23K"), (494_032_768, "494.03M"),
        (137_000_000, "137M"), (8_030_261_248, "8.0B"), (8_000_000_000, "8B"),
        (70_553_706_496, "70.6B"),
    ],
)  # fmt: skip
def test_size_text(count: int, text: str) -> None:
    """Parameter counts read as in Ollama's format.HumanNumber."""
    assert size_text(count) == text


CASES = [
    (Config(), facts(), (), "", ("completion",)),
    (Config(), facts(pooling=True), (), "", ("embedding",)),
    (Config(), facts(fill=True), (), "", ("completion", "insert")),
    (Config(), facts(vision=True, audio=True), (), "", ("completion", "vision", "audio")),
    (Config(), facts(chat_template="{% if tools %}"), (), "", ("tools", "completion")),
    (Config(), facts(chat_template="<think></think>"), (), "", ("thinking", "completion")),
    (Config(), facts(), (), GO_CHAT, ("completion", "tools", "thinking")),
    (Config(), facts(), (), "{{ .Prompt }}{{ .Suffix }}", ("completion", "insert")),
    (Config(), facts(), (), "Tools and .Tools in plain text", ("completion",)),
    (Config(), facts(chat_template="x"), (), GO_CHAT, ("completion", "tools", "thinking")),
    (Config(), facts(chat_template="{% if tools %}"), (), "{{ .Prompt }}", ("tools", "completion")),
    (Config(renderer="r"), facts(chat_template="x"), (), GO_CHAT, ("completion",)),
    (Config(), facts(), (), "{{ if }}", ("completion",)),
    (Config(), facts(), (), "{{/* .Tools */}}{{ `.Suffix` }}", ("completion",)),
    (Config(), facts(), (None,), "", ("completion", "vision")),
    (Config(), facts(), (facts(audio_encoder=True),), "", ("completion", "vision", "audio")),
    (Config(capabilities=("tools", "completion")), facts(), (), "", ("tools", "completion")),
    (Config(model_family="gpt-oss"), facts(), (), "", ("completion", "thinking")),
    (Config(model_family="nemotron_h_omni"), facts(audio=True), (), "", ("completion",)),
    (Config(remote_host="h", capabilities=("completion",)), None, (), "", ("completion",)),
    (Config(), None, (), "", ()),
]


@pytest.mark.parametrize(("config", "weights", "projectors", "template", "expected"), CASES)
def test_capabilities(
    config: Config,
    weights: WeightFacts | None,
    projectors: tuple[WeightFacts | None, ...],
    template: str,
    expected: tuple[str, ...],
) -> None:
    """Each rule alone gives its capability, in the order of discovery."""
    assert capabilities(config, weights, projectors, template) == expected


def test_details_fill_what_the_config_leaves_open() -> None:
    """Quantization and lengths come from the weights only where the config is silent."""
    open_config = Config(model_format="gguf", model_family="llama", file_type="unknown")
    found = details(open_config, facts(), "base:latest")
    assert (found.quantization_level, found.context_length, found.embedding_length) == (
        *("Q4_K_M", 9, 8),
    )
    assert found.parent_model == "base:latest"
    told = details(Config(file_type="Q8_0", context_length=4), facts(), "")
    assert (told.quantization_level, told.context_length) == ("Q8_0", 4)
    assert details(Config(), None, "").quantization_level == ""
