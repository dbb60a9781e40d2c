"""Answers that keep a rule: JSON, schemas, expressions and grammars, enforced token by token.

``compiler`` turns a constraint into a grammar of llguidance, once, off the engine thread, within a
deadline; ``sources`` writes those grammars; ``tokens`` shows llguidance a vocabulary; ``matcher``
is one answer's place in its grammar; ``resample`` draws again where the rule said no. The step
loop knows only ``base.jobs.Guide``.
"""

from .compiler import GrammarCompiler
from .matcher import Matcher
from .sources import Reasoning

__all__ = ["GrammarCompiler", "Matcher", "Reasoning"]
