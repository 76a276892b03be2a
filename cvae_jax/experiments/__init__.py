"""Several runs: sweeps that train them, and what tells them apart."""
