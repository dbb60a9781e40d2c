"""Programs that measure trillama against its rivals: `python -m bench.versus --help`.

One question a file; `bench/README.md` says how each is asked and how to read the answers. Nothing
here is installed with the package, and nothing in the package imports it.
"""
