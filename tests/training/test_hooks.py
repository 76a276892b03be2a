"""What happens between the steps: checkpoints of a new best, warnings, notes."""

import pytest

from cvae_jax.tasks.vae import VAE
from cvae_jax.training import loop
from tiny import rows, steps, tiny_config


def test_a_new_best_is_kept_between_the_regular_checkpoints_and_a_note_is_shown(tmp_path, capsys):
  config = tiny_config(checkpoint_every_epochs=100, beta_delay_steps=6)
  loop.train(config, tmp_path / 'run')
  assert steps(tmp_path / 'run') == [3, 6]
  assert 'β ends at 0 of 1' in capsys.readouterr().out


def test_pictures_that_cannot_be_drawn_cost_a_line_and_no_more(tmp_path, capsys, monkeypatch):
  def pictures(*_):
    raise RuntimeError('RESOURCE_EXHAUSTED: out of memory')

  monkeypatch.setattr(VAE, 'pictures', pictures)
  loop.train(tiny_config(), tmp_path / 'run')
  assert [row['step'] for row in rows(tmp_path / 'run')] == ['2', '3', '4', '6']
  assert steps(tmp_path / 'run') == [3, 6]
  assert (tmp_path / 'run' / 'projector' / 'latents.tsv').is_file()
  out = capsys.readouterr().out
  assert out.count('RESOURCE_EXHAUSTED') == 2  # once for the trackers, once for the last step
  assert 'prior of step 6' in out


@pytest.mark.slow
@pytest.mark.parametrize(('beta', 'warns'), [(200.0, True), (0.0, False)])
def test_collapsed_latents_are_reported_once_beta_has_risen(beta, warns, tmp_path, capsys):
  fields = {'num_epochs': 40, 'beta': beta, 'beta_warmup_epochs': 25.0, 'learning_rate': 0.02}
  fields |= {'eval_every_epochs': 10, 'checkpoint_every_epochs': 40}
  loop.train(tiny_config(**fields), tmp_path / 'run')
  lines = capsys.readouterr().out.splitlines()
  found = [number for number, line in enumerate(lines) if 'posterior collapse' in line]
  assert len(found) == warns
  if warns:
    assert '0 of 3 latents' in lines[found[0]]
    assert lines[found[0] - 1].startswith('epoch  30/40')
