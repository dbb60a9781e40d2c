"""Desk: the routes. One path for every chat and completion, dialects only at its two ends."""
