"""Synthetic corpus of `tiny`: every sample comes from the tables and grammars in this folder."""
