"""A third-party plugin for the tests: small generated datasets, ready in no time."""
