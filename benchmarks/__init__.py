"""Programs that measure; what they gave stands in README.md."""
