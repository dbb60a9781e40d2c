"""Machine floor: the contract of an engine, the only door to llama.cpp, and the fake beside it."""
