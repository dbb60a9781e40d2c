"""Readers of generated text: reasoning, content and tool calls, one family of models a file.

``contract`` says what a reader is, ``sections`` is the machine most families share, ``choose``
finds the family of a model. A reader gives the same answer however its text was cut into pieces.
"""
