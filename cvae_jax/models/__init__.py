"""Networks in Flax linen, and the distributions that they parameterize."""
