"""Images: files that are read, splits in memory, and their order in a training."""
