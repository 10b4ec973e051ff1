"""Does memory stay flat over a long training? `python -m tests.soak`."""
