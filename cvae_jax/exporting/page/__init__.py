"""A trained model as one HTML page, which computes in the browser."""
