"""Library: names to files, what a model is, and whether its weights are sound."""
