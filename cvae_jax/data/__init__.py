"""Images: where they come from, how they are transformed, in which order they come."""
