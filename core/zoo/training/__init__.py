"""Training: from settings to a run, and on from where one stopped."""
