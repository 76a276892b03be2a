"""ONNX files give what JAX gives, for every architecture and prior."""

import json

import numpy as np
import pytest

import saved_models
from cvae_jax.exporting import onnx_files
from cvae_jax.models.architectures import ARCHITECTURES
from cvae_jax.runtime import libraries
from cvae_jax.runtime.errors import InputError

needs_tools = pytest.mark.skipif(
  not libraries.installed(*onnx_files.LIBRARIES), reason='needs make export-tools'
)
PRIORS = ('standard', 'class_gaussian', 'vamp', 'flow', 'fitted')
# Each with some network, so that all of them are converted.
KINDS = (
  {'model__norm': 'group', 'model__channels': (8, 16)},
  {'model__norm': 'none', 'likelihood': 'gaussian', 'data__channels': 3, 'data__image_size': 10},
  {'conditional': False, 'model__norm': 'group', 'model__channels': (8, 16)},
  {'columns': saved_models.COLUMNS, 'model__activation': 'leaky_relu'},
  {'columns': saved_models.COLUMNS[1:], 'model__activation': 'relu', 'data__image_size': (9, 12)},
)
CASES = [
  (name, prior, KINDS[(row + column) % len(KINDS)])
  for row, name in enumerate(('resnet', 'conv', 'conv_resize', 'conv_mlp', 'mlp'))
  for column, prior in enumerate(PRIORS)
]


def session(path):
  import onnxruntime

  return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])


def save(folder, name, prior, kind):
  kind = dict(kind)
  if prior == 'class_gaussian' and not kind.get('conditional', True):
    del kind['conditional']  # it has a Gaussian for each class
  if prior in ('class_gaussian', 'vamp') and 'columns' in kind:
    kind['columns'] = saved_models.COLUMNS  # and needs the class
  kind |= {'model__name': name, 'prior': 'standard' if prior == 'fitted' else prior}
  return saved_models.save(folder, prior == 'fitted', model__num_pseudo_inputs=3, **kind)


def test_all_architectures_are_tested():
  assert {name for name, *_ in CASES} == set(ARCHITECTURES)


@needs_tools
@pytest.mark.parametrize(
  ('name', 'prior', 'kind'),
  [
    pytest.param(*case, marks=() if number == 24 else pytest.mark.slow, id=f'{case[0]}-{case[1]}')
    for number, case in enumerate(CASES)
  ],
)
def test_every_architecture_and_prior(name, prior, kind, tmp_path, capsys):
  model = save(tmp_path / 'model', name, prior, kind)
  onnx_files.write(model, tmp_path / 'onnx')
  lines = capsys.readouterr().out.splitlines()
  assert [line.partition(':')[0] for line in lines] == list(onnx_files.NAMES)
  for line in lines:
    assert float(line.split('at most ')[1].split()[0]) <= 1e-4
  # With a batch that was not checked, in the model's own way of drawing.
  encoder, decoder = (session(tmp_path / 'onnx' / f'{x}.onnx') for x in ('encoder', 'decoder'))
  rows = model.conditioning.of([0, 1, 2] if model.has_classes else None, {}, 3)
  latents = model.prior.draw(rows)
  given = {'conditions': rows.values} if model.conditional else {}
  (images,) = decoder.run(None, {'latents': latents} | given)
  expected = model.decode(latents, conditions=rows)
  np.testing.assert_allclose(images, expected, atol=1e-4)
  mean, logvar = encoder.run(None, {'images': images} | given)
  for ours, theirs in zip((mean, logvar), model.encode(expected, conditions=rows), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@needs_tools
def test_names_and_metadata_say_what_goes_in(tmp_path):
  model = saved_models.save(tmp_path / 'model', fitted=True, columns=saved_models.COLUMNS)
  onnx_files.write(model, tmp_path / 'onnx')
  found = {}
  for path in (tmp_path / 'onnx').iterdir():
    file = session(path)
    found[path.stem] = tuple(
      {each.name: (each.shape[0], each.shape[1:], each.type) for each in side}
      for side in (file.get_inputs(), file.get_outputs())
    )
  of_floats = 'tensor(float)'
  conditions = {'conditions': ('N', [3], of_floats)}
  latents = {'latents': ('N', [3], of_floats)}
  images = {'images': ('N', [8, 8, 1], of_floats)}
  noise = {'noise': ('N', [3], of_floats), 'uniform': ('N', [], of_floats)}
  posterior = {'mean': latents['latents'], 'logvar': latents['latents']}
  assert found == {
    'encoder': (images | conditions, posterior),
    'decoder': (latents | conditions, images),
    'prior': (noise | conditions, latents),
  }
  about = session(tmp_path / 'onnx' / 'prior.onnx').get_modelmeta().custom_metadata_map
  assert json.loads(about['classes']) == list(saved_models.NAMES)
  assert json.loads(about['pixel_range']) == [0, 1]
  assert (about['step'], about['likelihood'], about['dataset']) == ('7', 'bernoulli', 'digits')
  assert about['prior'].startswith('fitted')
  kind, flag, number = json.loads(about['columns'])
  assert (kind['names'], flag['names']) == (['three', 'four', 'five'], ['no', 'yes'])
  assert (flag['may_be_unknown'], kind['may_be_unknown']) == (True, False)
  assert {name: number[name] for name in ('mean', 'std', 'unit')} == {
    'mean': 50.0,
    'std': 20.0,
    'unit': '%',
  }


@needs_tools
def test_inputs_that_a_function_ignores_stay(tmp_path):
  onnx_files.write(saved_models.save(tmp_path / 'model'), tmp_path / 'onnx')
  prior = session(tmp_path / 'onnx' / 'prior.onnx')
  noise = np.float32([[1, 2, 3]])
  (latents,) = prior.run(None, {'noise': noise, 'conditions': np.int32([2])})
  np.testing.assert_array_equal(latents, noise)


@needs_tools
def test_a_denoising_autoencoder_has_no_prior_and_a_line_says_so(tmp_path, capsys):
  model = saved_models.save(tmp_path / 'model', objective='dae')
  onnx_files.write(model, tmp_path / 'onnx')
  assert {path.name for path in (tmp_path / 'onnx').iterdir()} == {'encoder.onnx', 'decoder.onnx'}
  assert 'No prior.onnx' in capsys.readouterr().out


@needs_tools
def test_results_that_differ_leave_no_files(tmp_path, monkeypatch):
  model = saved_models.save(tmp_path / 'model')
  right = onnx_files._session

  def wrong(function, content):
    run = right(function, content)
    shift = 2e-4 if function.name == 'decoder' else 0
    return lambda arrays: [result + np.float32(shift) for result in run(arrays)]

  monkeypatch.setattr(onnx_files, '_session', wrong)
  with pytest.raises(InputError, match=r'decoder differs from JAX by 0\.0002'):
    onnx_files.write(model, tmp_path / 'onnx')
  assert [path.name for path in tmp_path.iterdir()] == ['model']


@needs_tools
def test_an_operation_that_cannot_be_converted_is_named(tmp_path, monkeypatch):
  import jax
  from flax import linen as nn

  class Called(nn.Module):
    inner: nn.Module

    def __call__(self, inputs, train):
      outputs = self.inner(inputs, train)
      like = jax.ShapeDtypeStruct(outputs.shape, outputs.dtype)
      return jax.pure_callback(np.tanh, like, outputs)

  def build(config, image_shape, style):
    encoder, decoder = ARCHITECTURES['mlp'](config, image_shape, style)
    return Called(encoder), decoder

  monkeypatch.setattr(ARCHITECTURES, '_entries', dict(ARCHITECTURES._loaded()))
  ARCHITECTURES.register('called')(build)
  model = saved_models.save(tmp_path / 'model', model__name='called')
  with pytest.raises(InputError, match=r"encoder.*'pure_callback'"):
    onnx_files.write(model, tmp_path / 'onnx')
  assert [path.name for path in tmp_path.iterdir()] == ['model']


def test_without_the_tools_a_line_names_how_to_get_them(tmp_path, monkeypatch):
  model = saved_models.save(tmp_path / 'model')
  monkeypatch.setattr(onnx_files, 'LIBRARIES', ('onnxruntime', 'no_such_library'))
  with pytest.raises(InputError, match='make export-tools'):
    onnx_files.write(model, tmp_path / 'onnx')
