"""Errors, paths, random keys, progress bars, devices, processes, tensor files."""
