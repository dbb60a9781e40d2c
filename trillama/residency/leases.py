"""The right to use a runner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import TracebackType

from ..base.adapters import Adapters
from ..runner_pool import Runner
from .tenants import Tenant


class Lease:
    """The right to use a runner; the model stays loaded until it is released.

    Attributes:
        load_ns: nanoseconds from asking to having it; the load, or the wait for it, or next to
            nothing.
    """

    __slots__ = ("_give_back", "_tenant", "load_ns", "runner")

    def __init__(self, tenant: Tenant, load_ns: int, give_back: Callable[[Tenant], None]) -> None:
        assert tenant.runner is not None
        self.runner: Runner = tenant.runner
        self.load_ns = load_ns
        self._tenant: Tenant | None = tenant
        self._give_back = give_back

    async def adopt(self, adapters: Adapters) -> None:
        """Have adapters in memory, and counted there; see ``Runner.adopt``."""
        await self.runner.adopt(adapters)
        tenant, has = self._tenant, self.runner.adapter_bytes
        if adapters and tenant is not None and tenant.spec.adapters != has:
            tenant.spec = dataclasses.replace(tenant.spec, adapters=has)

    def release(self) -> None:
        """Give the runner back; again is harmless."""
        tenant, self._tenant = self._tenant, None
        if tenant is not None:
            self._give_back(tenant)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
