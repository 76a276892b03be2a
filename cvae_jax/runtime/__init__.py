"""Errors, paths, output, random keys, settings of JAX, progress bars, devices, processes."""
