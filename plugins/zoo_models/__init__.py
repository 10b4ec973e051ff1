"""Pretrained models: checkpoints that come with the package."""
