"""trillama: a local server for language models, written in Python on trio.

The package is a house of floors. A floor imports only floors below it, so every question has one
place where its answer can live, and a change has one direction in which it can be felt::

    cli > commands > app > api > nursery_scheduler > residency > runner_pool > runners > batching
        > seats > kv > models > blobs > engine > prompts > wire > base

Door        cli commands app                  the verbs, the application and its lifespan
Desk        api                               the routes; one path for every chat and completion
Dispatch    nursery_scheduler residency       which model is resident, who waits, who leaves
            runner_pool runners               one engine thread and its answers for each of them
Engine      batching seats kv                 the step loop and its dry book-keeping
Library     models blobs                      names, manifests, files by content
Machine     engine                            the only door to llama.cpp, and the fake beside it
Language    prompts                           templates in, thinking and tool calls out
Words       wire                              the shapes that cross the wire, one set a dialect
Ground      base                              frozen nouns that import nothing of ours

``tests/test_architecture.py`` holds the order; ``docs/ARCHITECTURE.md`` explains it.
This module holds the version and imports nothing, so that any floor may ask for it.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
