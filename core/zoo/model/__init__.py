"""The autoencoder as one module, and the files that keep it."""
