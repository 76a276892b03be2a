"""What a trained model is worth."""

IWAE_SAMPLES = 5_000  # K of the bounds that papers state, and of a whole evaluation
