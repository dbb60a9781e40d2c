"""Byte-level BPE vocabulary of `tiny`, trained on the corpus, split as llama.cpp's `qwen2`.

Run as `python -m training.tokenizer OUT.json`. Random codes are kept out of its training text on
purpose: merges should follow language, and a code should fall into few-character pieces.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.corpus import mixture

# llama.cpp's LLAMA_VOCAB_PRE_TYPE_QWEN2: every digit is a token of its own.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
VISIBLE = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
)
SIZE = 2560


def _texts(count: int) -> Iterator[str]:
    rng = random.Random(7)
    kinds = [
        "raw facts",
        "raw facts",
        "raw story",
        "talk",
        "story",
        "persona",
        "tool call",
        "code request",
        "fill in",
        "raw code",
    ]
    for _ in range(count):
        yield "".join(piece.text for piece in mixture.sample(rng, rng.choice(kinds)))


def train(count: int = 20000) -> Tokenizer:
    """A new tokenizer of SIZE tokens; control tokens first, then the visible ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[*CONTROL, *VISIBLE],
        show_progress=False,
        min_frequency=40,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_texts(count), trainer)
    return tokenizer


if __name__ == "__main__":
    train().save(sys.argv[1])
