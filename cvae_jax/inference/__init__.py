"""A trained model in the hand."""
