"""Programs that speak to a server through other people's client libraries, unmodified."""
