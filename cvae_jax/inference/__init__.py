"""Trained models: loading, drawing, encoding, bounds."""
