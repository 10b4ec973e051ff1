"""MNIST, shipped inside the package: it needs no network."""
