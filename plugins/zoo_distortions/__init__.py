"""Distortions: reconstruction losses."""
