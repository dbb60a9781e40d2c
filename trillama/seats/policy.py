"""How a context is to be run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How to run a context.

    Attributes:
        max_live: jobs generating or prefilling at once; 0 means as many as the context has rows.
        step_budget: see :class:`~trillama.engine.budget.StepBudget`.
        prefix_cache: keep finished sequences for later prompts.
        speculation: guess what answers say next where that pays.
        host_cache: bytes of the host's memory for sequences that the context has no room for.
    """

    max_live: int = 0
    step_budget: str = "auto"
    prefix_cache: bool = True
    host_cache: int = 512 << 20
    speculation: bool = True
