"""Checkpoints as an accident or an attacker would leave them: `python -m tests.hostile`."""
