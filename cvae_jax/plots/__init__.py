"""Arrays in, pictures out: figures, curves, grids, tables, HTML pages."""
