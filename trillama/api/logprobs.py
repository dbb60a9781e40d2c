"""Log-probabilities as clients see them: with the bytes of each token."""

from __future__ import annotations

from ..base.events import Text
from ..base.turns import Candidate, TokenLogprob
from ..engine.base import Vocabulary


def token_logprobs(said: Text, vocabulary: Vocabulary) -> list[TokenLogprob]:
    """One entry for each token of ``said``."""

    def candidate(token: int, logprob: float) -> Candidate:
        return Candidate(token, vocabulary.text_of(token), logprob)

    return [
        TokenLogprob(
            candidate(token, scores.logprob),
            tuple(candidate(other, logprob) for other, logprob in scores.top),
        )
        for token, scores in zip(said.tokens, said.scores, strict=True)
    ]
