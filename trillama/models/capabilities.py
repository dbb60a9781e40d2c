"""What a model is and can do, from its config, its templates and the headers of its weights.

The rules are those of Ollama's server/images.go, used for every answer alike: a list and a show of
one model never disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trillama.base.memory import Footprint
from trillama.prompts.choice import Templates, go_template_of, uses_go
from trillama.prompts.detect import jinja_thinks, jinja_uses_tools
from trillama.prompts.parsers.choose import THINKING_PARSERS, family_named

from .footprint import footprint
from .ggml_types import file_type_name
from .gguf import GgufFile, Value
from .manifest import Config

COMPLETION, TOOLS, INSERT, VISION, EMBEDDING, THINKING, AUDIO = (
    *("completion", "tools", "insert", "vision", "embedding", "thinking", "audio"),
)
_FILL = ("pre", "suf", "mid")
_THINKING_FAMILIES = ("gptoss", "gpt-oss")


class WeightFacts(msgspec.Struct, frozen=True):
    """The few facts of a GGUF header that lists need; 0 and "" where the header says nothing."""

    architecture: str
    file_type: str
    parameter_count: int
    context_length: int
    embedding_length: int
    chat_template: str
    pooling: bool
    vision: bool
    audio: bool
    audio_encoder: bool
    fill: bool = False
    tool_template: str = ""
    footprint: Footprint | None = None


class Details(msgspec.Struct, frozen=True):
    """``details`` of the API; lengths are 0 where unknown."""

    parent_model: str
    format: str
    family: str
    families: tuple[str, ...] | None
    parameter_size: str
    quantization_level: str
    context_length: int = 0
    embedding_length: int = 0


def _count(value: Value | None) -> int:
    return value if isinstance(value, int) else 0


def _has_audio_encoder(file: GgufFile) -> bool:
    if file.text("clip.vision.projector_type") == "gemma3nv":
        return False
    return any(
        key.endswith(".has_audio_encoder") and value is True for key, value in file.metadata.items()
    )


def weight_facts(file: GgufFile) -> WeightFacts:
    """Pick the facts out of a header."""
    return WeightFacts(
        architecture=file.architecture,
        file_type=file_type_name(file.metadata.get("general.file_type")),
        parameter_count=file.parameter_count,
        context_length=_count(file.hyper("context_length")),
        embedding_length=_count(file.hyper("embedding_length")),
        chat_template=file.text("tokenizer.chat_template"),
        pooling=file.hyper("pooling_type") is not None,
        vision=file.hyper("vision.block_count") is not None,
        audio=file.hyper("audio.block_count") is not None,
        audio_encoder=_has_audio_encoder(file),
        fill=all(f"tokenizer.ggml.fim_{part}_token_id" in file.metadata for part in _FILL),
        tool_template=file.text("tokenizer.chat_template.tool_use"),
        footprint=footprint(file),
    )


def size_text(count: int) -> str:
    """``parameter_size``: 8.0B, 494.03M, 22K; whole numbers without decimals."""
    for unit, letter, decimals in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count / unit:.{decimals if count % unit else 0}f}{letter}"
    return str(count)


def details(config: Config, facts: WeightFacts | None, parent: str) -> Details:
    """``details`` of a model; what the config leaves open is taken from the weights."""
    level = config.file_type
    if facts and level in ("", "unknown"):
        level = facts.file_type
    return Details(
        parent_model=parent,
        format=config.model_format,
        family=config.model_family,
        families=config.model_families,
        parameter_size=config.model_type,
        quantization_level=level,
        context_length=config.context_length or (facts.context_length if facts else 0),
        embedding_length=config.embedding_length or (facts.embedding_length if facts else 0),
    )


def _of_jinja(source: str) -> list[str]:
    return [TOOLS] * jinja_uses_tools(source) + [THINKING] * jinja_thinks(source)


def _of_go(source: str) -> list[str]:
    template = go_template_of(source)
    if template is None:
        return []
    known = ((template.uses_tools, TOOLS), (template.inserts, INSERT), (template.thinks, THINKING))
    return [name for shown, name in known if shown]


def _of_weights(facts: WeightFacts) -> list[str]:
    found = [EMBEDDING if facts.pooling else COMPLETION]
    found += [INSERT] * (facts.fill and not facts.pooling)
    return found + [VISION] * facts.vision + [AUDIO] * facts.audio


def templates_of(config: Config, facts: WeightFacts | None, template: str) -> Templates:
    """The templates of a model, and the names that decide between them."""
    return Templates(
        go=template,
        jinja=facts.chat_template if facts else "",
        renderer=config.renderer,
        parser=config.parser,
        family=config.model_family,
    )


def capabilities(
    config: Config,
    facts: WeightFacts | None,
    projectors: Sequence[WeightFacts | None],
    template: str,
    *,
    wants_go: bool | None = None,
) -> tuple[str, ...]:
    """Capabilities in Ollama's order of discovery, none twice.

    Args:
        projectors: facts of each projector layer, None where unreadable.
        template: the model's Go template, "" if it has none.
        wants_go: the setting that decides between it and a Jinja template.
    """
    found = list(config.capabilities or ())
    templates = templates_of(config, facts, template)
    by_go = uses_go(templates, wants_go)
    if not by_go:
        found += _of_jinja(templates.jinja)
        found += [TOOLS] * bool(facts and facts.tool_template)
    if facts:
        found += _of_weights(facts)
    if projectors:
        heard = any(projector and projector.audio_encoder for projector in projectors)
        found += [VISION] + [AUDIO] * heard
    if by_go:
        found += _of_go(template)
    if (family := family_named(config.parser)) and not family.unread:
        found += [TOOLS] + [THINKING] * (config.parser in THINKING_PARSERS)
    if config.model_family in _THINKING_FAMILIES:
        found.append(THINKING)
    silent = config.model_family == "nemotron_h_omni"
    return tuple(dict.fromkeys(name for name in found if not (silent and name == AUDIO)))
