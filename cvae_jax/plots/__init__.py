"""Arrays in, pictures out: figures, curves, grids, HTML pages."""
