"""Who may stay in memory: the records, the pure plan over them, and what users hold.

``tenants`` holds the records, ``plan`` decides and touches nothing, ``leases`` is the right to use
a runner. ``nursery_scheduler`` carries the plan out; the floors above take these from there.
"""
