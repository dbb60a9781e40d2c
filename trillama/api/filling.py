"""Prompts for filling a gap, by the marks in a model's vocabulary.

What stands before the gap and what follows it are told apart by tokens that no text can contain;
no template, system text or history is part of it. What does not fit is left out at the far ends,
where it matters least, and only if the request allows it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..base.errors import BadRequest, PromptTooLong
from ..runner_pool import Tokenizer

Tokens = npt.NDArray[np.int32]

BEFORE = 3
"""Of four tokens that are kept, so many stand before the gap."""


async def gap(tokenizer: Tokenizer, before: str, after: str, model: str) -> tuple[Tokens, Tokens]:
    """The tokens around a gap.

    Args:
        model: what to call it in the error.

    Raises:
        BadRequest: the model has no marks.
    """
    if tokenizer.vocabulary.fill is None:
        raise BadRequest(f"{model} does not support insert")
    plain = {"add_special": False, "parse_special": False}
    return await tokenizer.tokenize(before, **plain), await tokenizer.tokenize(after, **plain)


def marked(tokenizer: Tokenizer, before: Tokens, after: Tokens) -> Tokens:
    """One prompt: prefix, suffix, and the mark behind which the middle is to be said."""
    vocabulary = tokenizer.vocabulary
    assert vocabulary.fill is not None
    first, second, third = vocabulary.fill
    begin = [vocabulary.bos, first] if vocabulary.add_bos else [first]
    parts = (begin, before, [second], after, [third])
    return np.concatenate([np.asarray(part, np.int32) for part in parts])


def fitted(before: Tokens, after: Tokens, room: int) -> tuple[Tokens, Tokens]:
    """What is nearest to the gap, ``room`` tokens at most."""
    least = room * BEFORE // 4
    left = min(len(before), max(least, room - len(after)))
    return before[len(before) - left :], after[: room - left]


async def fill_prompt(
    tokenizer: Tokenizer, texts: tuple[str, str], model: str, limit: int, room: int | None
) -> tuple[Tokens, int]:
    """The prompt for a gap, and how many tokens were left out.

    Args:
        texts: before and after the gap.
        limit: positions for prompt and answer.
        room: positions for a prompt that has to be cut; None if it may not be.

    Raises:
        BadRequest: the model has no marks.
        PromptTooLong: it does not fit and may not be cut.
    """
    before, after = await gap(tokenizer, *texts, model)
    whole = marked(tokenizer, before, after)
    if len(whole) <= limit:
        return whole, 0
    if room is None:
        raise PromptTooLong(len(whole), limit)
    marks = len(whole) - len(before) - len(after)
    cut = marked(tokenizer, *fitted(before, after, max(room - marks, 1)))
    return cut, len(whole) - len(cut)
