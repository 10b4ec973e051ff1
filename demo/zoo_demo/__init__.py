"""The web demo: `zoo demo`."""
