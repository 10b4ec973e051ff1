"""Objectives: the plain autoencoder and the variational one."""
