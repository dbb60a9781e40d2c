"""Programs that prepare a checkout. They run on a bare Python, before anything is installed."""
