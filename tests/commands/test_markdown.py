"""Markdown comes out block by block, however the answer is cut."""

from __future__ import annotations

import io

import pytest

from trillama.commands.markdown import MarkdownWriter

TEXT = """# Title

Some *emphasis* and `code`.

- one
- two

```python
x = 1

y = 2
```
The end."""


def rendered(pieces: list[str]) -> str:
    out = io.StringIO()
    writer = MarkdownWriter(out, 60)
    for piece in pieces:
        writer.write(piece)
    writer.close()
    return out.getvalue()


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_cut_of_the_pieces_does_not_show(size: int) -> None:
    """Any chunking gives the same screen."""
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    assert rendered(pieces) == rendered([TEXT])


def test_marks_become_styles() -> None:
    """What is shown has neither stars nor fences."""
    shown = rendered([TEXT])
    assert "*emphasis*" not in shown
    assert "```" not in shown
    assert "\x1b[" in shown
    assert "x = 1" in "".join(part.split("m", 1)[-1] for part in shown.split("\x1b["))


def test_a_block_is_shown_as_soon_as_it_is_whole() -> None:
    """A reader need not wait for the end."""
    out = io.StringIO()
    writer = MarkdownWriter(out, 60)
    writer.write("first\nline\n")
    assert out.getvalue() == ""
    writer.write("\nsecond")
    assert "first line" in out.getvalue()
    assert "second" not in out.getvalue()
