"""Metrics and pictures on held-out images."""
