"""WordPiece vocabularies as llama.cpp wants them.

In the files of a BERT a token that continues a word begins with ``##``. llama.cpp marks the other
ones instead: what begins a word begins with U+2581.
"""

from __future__ import annotations

from typing import Any

from gguf import GGUFWriter, TokenType

from trillama.base.errors import CorruptModel, Unsupported

from .checkpoint import Checkpoint

_SPACE = "▁"
_SPECIALS = ("cls_token", "sep_token", "unk_token", "pad_token", "mask_token")
_DEFAULTS = ("[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]")


def read_tokens(checkpoint: Checkpoint) -> list[str]:
    """Tokens in the order of their ids, from ``tokenizer.json`` or ``vocab.txt``.

    Raises:
        CorruptModel: there are none, or an id is missing.
        Unsupported: the tokenizer is another kind.
    """
    model = checkpoint.json("tokenizer.json").get("model", {})
    if model:
        if model.get("type", "WordPiece") != "WordPiece":
            raise Unsupported(f"conversion of a BERT with a {model.get('type')} tokenizer")
        known: dict[str, int] = model["vocab"]
        tokens = sorted(known, key=known.__getitem__)
        if [known[token] for token in tokens] != list(range(len(tokens))):
            raise CorruptModel("the vocabulary in tokenizer.json leaves out an id")
        return tokens
    tokens = [line.rstrip("\r") for line in checkpoint.lines("vocab.txt")]
    while tokens and not tokens[-1]:
        tokens.pop()
    if not tokens:
        raise CorruptModel("there is neither tokenizer.json nor vocab.txt")
    return tokens


def phantom_spaces(token: str) -> str:
    """A token as llama.cpp spells it."""
    if token.startswith("[") and token.endswith("]"):
        return token
    return token[2:] if token.startswith("##") else _SPACE + token


def special_texts(checkpoint: Checkpoint) -> dict[str, str]:
    """The texts of the special tokens, by their names in tokenizer_config.json."""
    given = checkpoint.json("special_tokens_map.json") | checkpoint.json("tokenizer_config.json")

    def text(name: str, default: str) -> str:
        found: Any = given.get(name, default)
        found = found.get("content") if isinstance(found, dict) else found
        return found if isinstance(found, str) else default

    return {name: text(name, default) for name, default in zip(_SPECIALS, _DEFAULTS, strict=True)}


def lowercases(checkpoint: Checkpoint) -> bool:
    """Whether texts are lower-cased before they are looked up; a BERT's are unless it says no."""
    normalizer = checkpoint.json("tokenizer.json").get("normalizer") or {}
    if "lowercase" in normalizer:
        return bool(normalizer["lowercase"])
    return bool(checkpoint.json("tokenizer_config.json").get("do_lower_case", True))


def add_wordpiece(writer: GGUFWriter, checkpoint: Checkpoint, size: int) -> None:
    """Add the vocabulary of a checkpoint, padded to ``size`` tokens.

    Raises:
        CorruptModel: it has more, or lacks a special token.
    """
    tokens = read_tokens(checkpoint)
    if len(tokens) > size:
        raise CorruptModel(f"{len(tokens)} tokens for {size} embeddings")
    ids = {token: number for number, token in enumerate(tokens)}
    specials = special_texts(checkpoint)
    if missing := [text for text in specials.values() if text not in ids]:
        raise CorruptModel(f"the vocabulary lacks {', '.join(missing)}")
    types = [TokenType.NORMAL] * len(tokens) + [TokenType.UNUSED] * (size - len(tokens))
    for text in specials.values():
        types[ids[text]] = TokenType.CONTROL
    types[ids[specials["unk_token"]]] = TokenType.UNKNOWN
    padding = [f"[PAD{number}]" for number in range(len(tokens), size)]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*map(phantom_spaces, tokens), *padding])
    writer.add_token_types(types)
    writer.add_bos_token_id(ids[specials["cls_token"]])
    writer.add_sep_token_id(ids[specials["sep_token"]])
    writer.add_unk_token_id(ids[specials["unk_token"]])
    writer.add_pad_token_id(ids[specials["pad_token"]])
    writer.add_mask_token_id(ids[specials["mask_token"]])
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", lowercases(checkpoint))
