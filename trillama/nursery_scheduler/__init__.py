"""Who is resident, who waits, who leaves and when.

Owns: the nursery every runner lives in, the queue of requests for models that are not ready, the
leases that keep a model loaded while it is used, and the keep-alive clocks.
Called by: ``app`` runs it for as long as the server lives; ``api`` acquires a lease for each
request and lists the residents.
Never: sees a job or a token, ends an answer that runs (but for the end of a drain), or lets a busy
model go.
A cancelled ``acquire`` leaves the queue at once; a load that nobody waits for any more is given up
after a short while. Cancelling ``run`` closes every runner within a bounded time.

``plan`` decides and touches nothing, ``scheduler`` carries it out, ``tenants`` holds the records,
``leases`` what users hold.
Keep-alive follows Ollama's rules (server/sched.go), the queue does not: whoever waits for room is
never overtaken by later requests for the models that are in the way.
"""

from .leases import Lease
from .plan import Fits, Plan, plan
from .scheduler import Scheduler
from .tenants import (
    Resident,
    SchedulerLimits,
    SchedulerStatistics,
    SchedulerTotals,
    Tenant,
    TenantState,
    Waiter,
)

__all__ = [
    "Fits",
    "Lease",
    "Plan",
    "Resident",
    "Scheduler",
    "SchedulerLimits",
    "SchedulerStatistics",
    "SchedulerTotals",
    "Tenant",
    "TenantState",
    "Waiter",
    "plan",
]
