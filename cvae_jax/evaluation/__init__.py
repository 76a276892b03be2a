"""What a trained model is worth."""

IWAE_SAMPLES = 5_000  # K of the bounds that papers state, and of a whole evaluation
# What --metrics chooses from, in the order of measuring; the IWAE bound takes longest.
GROUPS = (
  'likelihood',
  'reconstruction',
  'latent',
  'generation',
  'classifier',
  'conditions',
  'pictures',
  'iwae',
)
