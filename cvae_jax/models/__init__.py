"""Networks in Flax linen."""
