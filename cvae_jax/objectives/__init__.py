"""Likelihoods, bounds and schedules of β: what a variational autoencoder optimizes."""
