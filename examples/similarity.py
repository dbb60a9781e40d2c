"""Search a folder of text by meaning.

    trillama serve &
    python examples/similarity.py ~/notes "how do I prune a pear tree?" --model all-minilm

Every paragraph of every ``.txt`` and ``.md`` file becomes a vector, in calls of some hundred
paragraphs; those nearest to the question are printed. Only the ``ollama`` client and numpy are
needed, so the same program works against any server with ``/api/embed``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import ollama

AT_ONCE = 512


@dataclass(frozen=True)
class Paragraph:
    """Where a text stands, and the text."""

    path: Path
    line: int
    text: str


def paragraphs(folder: Path) -> Iterator[Paragraph]:
    """What stands between empty lines in the text files below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".txt", ".md") or not path.is_file():
            continue
        line = 1
        for block in path.read_text("utf-8", "replace").split("\n\n"):
            if text := block.strip():
                yield Paragraph(path, line + len(block) - len(block.lstrip("\n")), text)
            line += block.count("\n") + 2


def vectors(client: ollama.Client, model: str, texts: list[str]) -> npt.NDArray[np.float32]:
    """One row of length 1 for each text."""
    rows: list[object] = []
    for start in range(0, len(texts), AT_ONCE):
        rows += client.embed(model, texts[start : start + AT_ONCE]).embeddings
    return np.array(rows, np.float32)


def search(
    client: ollama.Client, model: str, found: list[Paragraph], question: str, top: int = 3
) -> list[tuple[float, Paragraph]]:
    """The paragraphs nearest to a question, with their cosines, nearest first."""
    rows = vectors(client, model, [paragraph.text for paragraph in found] + [question])
    near = rows[:-1] @ rows[-1]
    return [(float(near[at]), found[at]) for at in np.argsort(-near)[:top]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Search a folder of text by meaning.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("question")
    parser.add_argument("--model", default="all-minilm")
    parser.add_argument("--host", help="default: OLLAMA_HOST, or this machine")
    parser.add_argument("--top", type=int, default=3)
    asked = parser.parse_args()
    found = list(paragraphs(asked.folder))
    if not found:
        raise SystemExit(f"no .txt or .md files in {asked.folder}")
    client = ollama.Client(asked.host)
    for near, paragraph in search(client, asked.model, found, asked.question, asked.top):
        first = paragraph.text.splitlines()[0]
        print(f"{near:.3f}  {paragraph.path}:{paragraph.line}  {first[:80]}")


if __name__ == "__main__":
    main()
