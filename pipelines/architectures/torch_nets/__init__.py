"""Fitting torch modules: the training loop, devices, checkpoints, clusters of codes."""
