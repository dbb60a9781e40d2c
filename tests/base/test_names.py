"""Names and digests: the grammar, and that no text leaves the store."""

from __future__ import annotations

import string
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trillama.base.errors import BadRequest
from trillama.base.names import Digest, ModelName, Source, parse_name, parse_reference

VALID = [
    ("x", "registry.ollama.ai/library/x:latest", "x:latest"),
    ("a/x", "registry.ollama.ai/a/x:latest", "a/x:latest"),
    ("h:5000/a/x", "h:5000/a/x:latest", "h:5000/a/x:latest"),
    ("hf.co/u/m:Q4_K_M", "hf.co/u/m:Q4_K_M", "hf.co/u/m:Q4_K_M"),
    ("http://h:1/a/x:t", "h:1/a/x:t", "h:1/a/x:t"),
    ("X:Y", "registry.ollama.ai/library/X:Y", "X:Y"),
    ("Library/x", "registry.ollama.ai/Library/x:latest", "x:latest"),
    ("Registry.Ollama.AI/library/x", "Registry.Ollama.AI/library/x:latest", "x:latest"),
    ("h/library/x", "h/library/x:latest", "h/library/x:latest"),
    ("_x", "registry.ollama.ai/library/_x:latest", "_x:latest"),
    ("x.y", "registry.ollama.ai/library/x.y:latest", "x.y:latest"),
    ("m" * 80, f"registry.ollama.ai/library/{'m' * 80}:latest", f"{'m' * 80}:latest"),
]
INVALID = [
    *("", ":", "x:", ":y", "/x", "a//x", "a/", "-x", ".", "..", "x y", "a.b/x", "x:y:z", "x\n"),
    *("m" * 81, "x:" + "t" * 81, "n" * 81 + "/x", "a/b/c/d", "m@sha256:abc", "m@abc", "ü", "x\0"),
    *("../x", "../../etc/passwd", "a/../x", "x:..", "h/../x", "x:../../y", "h" * 351 + "/a/x"),
]


@pytest.mark.parametrize(("text", "full", "short"), VALID)
def test_valid_names(text: str, full: str, short: str) -> None:
    """Defaults fill what is missing, case is kept, the short form always shows the tag."""
    name = parse_name(text)
    assert (name.full, name.short, str(name)) == (full, short, short)
    assert parse_name(name.full) == name


@pytest.mark.parametrize("text", INVALID)
def test_invalid_names(text: str) -> None:
    """Everything outside the grammar is refused with one wording."""
    with pytest.raises(BadRequest, match=r"^invalid model name$"):
        parse_name(text)


def test_a_name_cannot_be_built_around_the_grammar() -> None:
    """The type itself refuses bad parts, whoever calls it."""
    with pytest.raises(BadRequest):
        ModelName("h", "..", "m", "t")


def test_names_fold_case() -> None:
    """Two spellings of one name have equal folded parts."""
    assert parse_name("Foo/Bar:TAG").folded == parse_name("foo/bar:tag").folded


def contained(parts: tuple[str, ...]) -> bool:
    """True when the parts, joined, stay below where they start and add one level each."""
    path = PurePosixPath(*parts)
    return not path.is_absolute() and path.parts == parts and ".." not in path.parts


text_near_the_grammar = st.text(st.sampled_from("ab./:-_\\~\0\n %@é" + string.digits), max_size=40)


@given(text_near_the_grammar | st.text(max_size=60))
@example("http://../a/b")
@example("a/b/..")
@example("::/a/..:..")
def test_no_name_escapes_the_store(text: str) -> None:
    """Whatever text is parsed, four path components below manifests/ come out, or an error."""
    try:
        name = parse_name(text)
    except BadRequest:
        return
    assert contained(name.parts)


@given(
    text_near_the_grammar | st.text(max_size=90) | st.from_regex(r"sha256[:-][0-9a-fA-F]{62,66}")
)
@example("sha256:" + "a" * 64 + "\n")
@example("sha256:" + "../" * 21 + "a")
def test_no_digest_escapes_the_store(text: str) -> None:
    """A digest's file name is always sha256- and 64 lower hex digits."""
    try:
        digest = Digest(text)
    except BadRequest:
        return
    assert contained((digest.file_name,))
    assert len(digest.hex) == 64
    assert set(digest.hex) <= set("0123456789abcdef")
    assert Digest(digest) == digest == Digest(digest.file_name)


@pytest.mark.parametrize(
    "text", ["", "sha256:", "a" * 64, "sha512:" + "a" * 64, "sha256:" + "g" * 64]
)
def test_invalid_digests(text: str) -> None:
    """Anything else is refused with Ollama's wording."""
    with pytest.raises(BadRequest, match=r"^invalid digest format$"):
        Digest(text)


def test_digest_is_usable_as_text() -> None:
    """A digest compares, hashes and prints as its canonical text."""
    digest = Digest("sha256-" + "AB" * 32)
    assert digest == "sha256:" + "ab" * 32
    assert {digest: 1}["sha256:" + "ab" * 32] == 1


REFERENCES = [
    ("x", "x:latest", Source.ANY),
    ("  x:y ", "x:y", Source.ANY),
    ("x:local", "x:latest", Source.LOCAL),
    ("x:y:LOCAL", "x:y", Source.LOCAL),
    ("x:cloud", "x:latest", Source.CLOUD),
    ("gpt-oss:20b-cloud", "gpt-oss:20b", Source.CLOUD),
    ("h:5000/a/x-cloud", "h:5000/a/x-cloud:latest", Source.ANY),
]


@pytest.mark.parametrize(("text", "short", "source"), REFERENCES)
def test_source_suffixes(text: str, short: str, source: Source) -> None:
    """A trailing :local, :cloud or -cloud tag chooses the source and is no part of the name."""
    reference = parse_reference(text)
    assert (reference.name.short, reference.source) == (short, source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "model is required"),
        ("x:local:cloud", 'use either :local or :cloud, not both: "x:local:cloud"'),
        ("x:y-cloud:local", 'use either :local or :cloud, not both: "x:y-cloud:local"'),
        ("../x:local", "invalid model name"),
    ],
)
def test_bad_references(text: str, message: str) -> None:
    """Each way of being wrong has Ollama's wording."""
    with pytest.raises(BadRequest) as caught:
        parse_reference(text)
    assert caught.value.message == message


PIN = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "short", "source", "tagged"),
    [
        (f"x@{PIN}", "x:latest", Source.ANY, False),
        (f"x:y@{PIN}", "x:y", Source.ANY, True),
        (f" h:5000/a/x@{PIN.replace(':', '-').upper().replace('SHA', 'sha')} ", "h:5000/a/x:latest",
         Source.ANY, False),
        (f"x:local@{PIN}", "x:latest", Source.LOCAL, False),
    ],
)  # fmt: skip
def test_a_name_can_be_pinned(text: str, short: str, source: Source, tagged: bool) -> None:
    """``@sha256:…`` behind a name says which manifest is meant; the rest reads as without it."""
    reference = parse_reference(text)
    assert (reference.name.short, reference.source, reference.tagged) == (short, source, tagged)
    assert reference.digest == PIN
    assert reference.short == f"{short}@{PIN}"


@pytest.mark.parametrize("text", [f"@{PIN}", "x@", "x@sha256:abc", f"x@{PIN}:y", f"x@{PIN}@{PIN}"])
def test_bad_pins(text: str) -> None:
    """A pin that is no digest, or stands elsewhere, makes the name invalid."""
    with pytest.raises(BadRequest, match=r"^invalid model name$"):
        parse_reference(text)


@given(
    text_near_the_grammar
    | st.text(max_size=60)
    | st.from_regex(r"[a-z/.:]{0,9}@sha256:[0-9a-f]{64}")
)
@example("../x@" + PIN)
@example("x@sha256:" + "../" * 21 + "a")
def test_no_reference_escapes_the_store(text: str) -> None:
    """Whatever a client writes where a model is asked for, no path leaves the store."""
    try:
        reference = parse_reference(text)
    except BadRequest:
        return
    assert contained(reference.name.parts)
    if reference.digest:
        assert contained((reference.digest.file_name,))
