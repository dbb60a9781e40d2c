"""Looking after a store: what lies in it, whether it is sound, and models to carry away.

Plain functions on a ``ModelStore``; each blocks, needs no server, and may run beside one.
"""
