"""trillama on a GPU: unpack or build, make models, measure beside llama-server, print the tables.

`python -m bench.gpu` is the way in, docs/BENCHMARKS.md the method. No stage needs a network, and no
result of one machine is believed on another.
"""
