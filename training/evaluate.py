"""Measures a GGUF through llama.cpp on wordings and values that training never showed.

Run as `python -m training.evaluate MODEL.gguf [--json OUT] [--only NAME]`. Prints a table and JSON;
exit status 1 when a target is missed. Answers are greedy unless a check says otherwise; prompts
come from the file's own template.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import jinja2
import llama_cpp

from training import cases
from training.cases import Case

TARGETS = {
    "facts": 0.95,
    "sums": 0.80,
    "sums, thinking": 0.80,
    "repeat": 0.95,
    "tool call": 0.90,
    "tool call, thinking": 0.90,
    "tool answer": 0.90,
    "no tool needed": 0.90,
    "think on and off": 0.98,
    "fill in": 0.80,
    "persona": 0.95,
    "memory": 0.90,
    "story": 0.90,
    "raw text": 0.90,
    "facts, sampled": 0.90,
    "recall, long prompt": 0.80,
    "stops by itself": 0.98,
}


class Model:
    """A GGUF with its own chat template; every call starts from an empty context."""

    def __init__(self, path: Path, threads: int) -> None:
        self.llama = llama_cpp.Llama(
            str(path), n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False, seed=1
        )
        environment = jinja2.Environment()
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string(self.llama.metadata["tokenizer.chat_template"])

    def prompt(self, case: Case) -> str:
        if isinstance(case.prompt, str):
            return case.prompt
        return self.template.render(
            messages=case.prompt,
            tools=list(case.tools),
            add_generation_prompt=True,
            enable_thinking=case.thinking,
        )

    def answer(self, case: Case) -> tuple[str, bool]:
        """The text after the prompt and whether the model ended it by itself."""
        sampling: dict[str, Any] = {"temperature": 0.0}
        if case.sampled:
            sampling = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "repeat_penalty": 1.0}
        out = self.llama.create_completion(self.prompt(case), max_tokens=case.limit, **sampling)
        choice = out["choices"][0]
        return choice["text"], choice["finish_reason"] == "stop"


@dataclass
class Score:
    right: int = 0
    asked: int = 0

    def add(self, good: bool) -> None:
        self.right += good
        self.asked += 1

    @property
    def share(self) -> float:
        return self.right / max(1, self.asked)


def run(
    model: Model, only: str, seed: str, failed: Callable[[str, Case, str], None]
) -> Iterator[tuple[str, Score]]:
    """Every check with its score; the last one counts how many answers ended by themselves."""
    stops = Score()
    for name, make in cases.CHECKS.items():
        if only and not name.startswith(only):
            continue
        score = Score()
        for case in make(random.Random(f"{seed} {name}")):
            text, stopped = model.answer(case)
            good = case.right(text)
            score.add(good)
            if case.stops:
                stops.add(stopped)
            if not good:
                failed(name, case, text)
        yield name, score
    yield "stops by itself", stops


def table(scores: dict[str, Score]) -> str:
    lines = ["| check | right | of | share | target | |", "|---|--:|--:|--:|--:|---|"]
    for name, score in scores.items():
        mark = "ok" if score.share >= TARGETS[name] else "BELOW"
        shares = f"{score.share:.1%} | {TARGETS[name]:.0%}"
        lines.append(f"| {name} | {score.right} | {score.asked} | {shares} | {mark} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--json", type=Path, help="write the scores here as well")
    parser.add_argument("--only", default="", help="run only checks whose name starts so")
    parser.add_argument("--seed", default="evaluate", help="another text asks other questions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="wrong answers shown per check")
    args = parser.parse_args()
    shown: dict[str, int] = {}

    def failed(name: str, case: Case, text: str) -> None:
        shown[name] = shown.get(name, 0) + 1
        if shown[name] <= args.show:
            asked = case.prompt if isinstance(case.prompt, str) else case.prompt[-1]["content"]
            print(f"{name}: {asked[-150:]!r} wanted {case.wanted!r} got {text!r}", file=sys.stderr)

    started = time.monotonic()
    scores = dict(run(Model(args.model, args.threads), args.only, args.seed, failed))
    result = {
        name: {"right": s.right, "of": s.asked, "share": s.share} for name, s in scores.items()
    }
    print(table(scores))
    print(json.dumps(result))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(s.share >= TARGETS[name] for name, s in scores.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
