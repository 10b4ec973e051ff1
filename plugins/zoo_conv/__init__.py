"""Strided convolutions, for images from 16×16 to 256×256."""
