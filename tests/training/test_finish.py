"""What a run leaves when it has ended."""

import shutil

from cvae_jax.training import loop
from tiny import tiny_config


def test_what_cannot_be_drawn_or_written_does_not_keep_the_prior_from_being_fitted(
  tiny_run, tmp_path, capsys
):
  run = shutil.copytree(tiny_run, tmp_path / 'run')
  for folder in ('projector', 'samples'):  # a link to a disk that is not there
    shutil.rmtree(run / folder)
    (run / folder).symlink_to(tmp_path / 'unmounted')
  priors = list(run.glob('checkpoints/*/*.safetensors'))
  for path in priors:
    path.unlink()
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), run)
  assert priors
  assert all(path.is_file() for path in priors)
  lines = capsys.readouterr().out.splitlines()
  assert len([line for line in lines if 'left out: ' in line]) == 2
  assert any(line.startswith('best and last: epoch 2') for line in lines)
