"""What is learned: one module per kind of model."""
