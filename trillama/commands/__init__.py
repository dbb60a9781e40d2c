"""One file a verb; ``client`` speaks to the server, ``console`` formats what people read."""
