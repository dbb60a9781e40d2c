"""Readers of generated text, one family a file."""
