"""StableHLO files give what JAX gives, in a process that has JAX alone."""

import json

import numpy as np
import pytest
from jax import export

import saved_models
from cvae_jax.exporting import stablehlo
from cvae_jax.runtime.errors import InputError

# Each architecture and each prior, with each kind of conditions.
SPATIAL = {  # latents that are a map
  'conditional': False,
  'model__norm': 'group',
  'model__channels': (8, 16),
  'model__latent_channels': 2,
  'latent_dim': 2 * 2 * 2,
  'data__image_size': 8,
}
CASES = (
  ('resnet', 'vamp', {'model__norm': 'group'}),
  ('conv', 'flow', {'conditional': False, 'model__norm': 'batch'}),
  ('conv_resize', 'class_gaussian', {'columns': saved_models.COLUMNS, 'data__image_size': 10}),
  ('conv_mlp', 'standard', {'likelihood': 'gaussian', 'data__channels': 3}),
  ('mlp', 'fitted', {}),
  ('resnet', 'standard', SPATIAL),
)


def load(path):
  return export.deserialize(bytearray(path.read_bytes()))


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'prior', 'kind'), CASES)
def test_every_architecture_and_prior(name, prior, kind, tmp_path, capsys):
  own = 'standard' if prior == 'fitted' else prior
  model = saved_models.save(
    tmp_path / 'model', prior == 'fitted', prior=own, model__name=name, **kind
  )
  stablehlo.write(model, tmp_path / 'files')
  lines = capsys.readouterr().out.splitlines()
  assert [line.partition(':')[0] for line in lines[:3]] == list(stablehlo.NAMES[:3])
  for line in lines[:3]:
    assert float(line.split('at most ')[1].split()[0]) <= 1e-4
  about = json.loads((tmp_path / 'files' / 'metadata.json').read_text())
  assert list(about['functions']) == ['encoder', 'decoder', 'prior']
  assert '6 months newer' in about['loads']
  # With a batch that was not checked.
  decoder = load(tmp_path / 'files' / 'decoder.stablehlo')
  assert set(decoder.platforms) == {'cpu', 'cuda', 'tpu'}
  rows = model.conditioning.of([0, 1, 2] if model.has_classes else None, {}, 3)
  latents = model.prior.draw(rows)
  (images,) = decoder.call(latents, *([rows.values] if model.conditional else []))
  np.testing.assert_allclose(images, model.decode(latents, conditions=rows), atol=1e-4)


@pytest.mark.slow
def test_a_denoising_autoencoder_has_no_prior_and_a_line_says_so(tmp_path, capsys):
  model = saved_models.save(tmp_path / 'model', objective='dae')
  stablehlo.write(model, tmp_path / 'files')
  names = {path.name for path in (tmp_path / 'files').iterdir()}
  assert names == {'encoder.stablehlo', 'decoder.stablehlo', 'metadata.json'}
  assert 'No prior.stablehlo' in capsys.readouterr().out
  (mean, _) = load(tmp_path / 'files' / 'encoder.stablehlo').call(
    np.zeros((2, *model.image_shape), np.float32), np.int32([0, 1])
  )
  assert mean.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize('broken', ['results', 'file'])
def test_files_that_do_not_give_what_jax_gives_are_not_left(tmp_path, monkeypatch, broken):
  model = saved_models.save(tmp_path / 'model', objective='dae')
  if broken == 'file':
    monkeypatch.setattr(stablehlo, '_serialized', lambda function: b'damaged')
  else:
    changed = stablehlo.LOADED.replace("}'] = array", "}'] = array + np.float32(2e-4)")
    monkeypatch.setattr(stablehlo, 'LOADED', changed)
  with pytest.raises(InputError, match='loaded' if broken == 'file' else r'differs.*0\.0002'):
    stablehlo.write(model, tmp_path / 'files')
  assert [path.name for path in tmp_path.iterdir()] == ['model']
