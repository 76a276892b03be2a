"""Programs that measure speed; README.md holds their results."""
