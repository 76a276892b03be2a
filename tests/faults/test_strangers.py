"""Loading a stranger's run executes no code, writes nowhere else and takes no unexpected memory."""

import json
import resource
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import cvae_jax
from cvae_jax import config as config_lib
from cvae_jax.inference import sampling
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import checkpoint_items, checkpoints, restoring, run_folder
from tiny import tiny_config


@pytest.fixture
def run(tiny_run, tmp_path):
  """A copy of a run, to be tampered with."""
  shutil.copytree(tiny_run, tmp_path / 'run')
  return tmp_path / 'run'


def edit(run, **changes):
  path = run / 'config.json'
  content = json.loads(path.read_text())
  for name, value in changes.items():
    *groups, field = name.split('__')
    place = content
    for group in groups:
      place = place[group]
    place[field] = value
  path.write_text(json.dumps(content))


def test_a_config_that_the_weights_were_not_trained_with_is_refused(run):
  """The shapes are the same: nothing else shows it, and the pictures would be wrong."""
  edit(run, config__model__activation='relu')
  for path in (run, run / 'checkpoints' / '4'):
    with pytest.raises(InputError, match=r"model.activation is 'silu' there, 'relu' here"):
      cvae_jax.load(path)
  # A free field may change.
  edit(run, config__model__activation='silu', config__log_every_steps=77)
  assert cvae_jax.load(run).step


def test_a_config_of_another_model_is_named_rather_than_damage(run):
  edit(run, config__latent_dim=5)
  with pytest.raises(InputError, match=r'latent_dim is 3 there, 5 here .*config\.json') as error:
    cvae_jax.load(run)
  assert 'damaged' not in str(error.value)


@pytest.mark.parametrize(
  'text', ['__import__("os").system("touch ran")', '!!python/object/apply:os.system ["touch ran"]']
)
def test_texts_stay_texts(text, run, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  edit(run, class_names=[text, *'123456789'], config__init_from=text, config__data__dir=text)
  for step in run_folder_steps(run):  # an attacker would change these too
    rewrite_config(run, step)
  model = cvae_jax.load(run)
  assert model.sample([0]).shape == (1, 8, 8, 1)
  assert not (tmp_path / 'ran').exists()


def run_folder_steps(run):
  return [path.name for path in (run / 'checkpoints').iterdir() if run_folder.is_step(path.name)]


def rewrite_config(run, step):
  (item,) = (run / 'checkpoints' / step / 'config').glob('metadata')
  item.write_text(json.dumps(config_lib.read(run).config.to_dict()))


@pytest.mark.parametrize('name', ['../../escaped', '/tmp/escaped', '..'])
def test_names_lead_nowhere_else(name, run, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  edit(run, class_names=[name, *'123456789'])
  model = cvae_jax.load(run)
  values = dict.fromkeys(sampling.Request._fields) | {'mode': 'prior', 'format': 'png'}
  for label in ([name], None):
    file_name = sampling.file_name(sampling.Request(**values | {'label': label}), model)
    assert (run / 'samples' / file_name).resolve().parent == (run / 'samples').resolve()
  edit(run, config__name=name)
  with pytest.raises(InputError, match=f'name={name!r}'):
    cvae_jax.load(run)


def test_names_do_not_command_a_terminal(run):
  edit(run, class_names=['\x1b]0;title\x07', *'123456789'])
  with pytest.raises(InputError, match='class_names'):
    cvae_jax.load(run)


def test_an_array_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path):
  """Zeros, which compress as well as those of an archive bomb."""
  bomb = {'w': jnp.zeros(1 << 26, jnp.float32)}
  saved = checkpoints.Checkpoints(tmp_path, 1, tiny_config())
  saved._manager.save(1, args=ocp.args.Composite(model=ocp.args.StandardSave(bomb)))
  saved.close()
  del bomb
  on_disk = sum(path.stat().st_size for path in tmp_path.rglob('*') if path.is_file())
  assert on_disk < 1 << 20
  like = {'w': jax.ShapeDtypeStruct((1 << 26,), np.float32)}
  read = []
  restore = ocp.CheckpointManager.restore
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      ocp.CheckpointManager, 'restore', lambda *a, **k: read.append(a) or restore(*a, **k)
    )
    with pytest.raises(InputError, match=r"'model' would take 268,435,456 bytes of memory"):
      restoring.restore_variables(tmp_path, 'last', tiny_config(), like)
  assert not read


def test_shapes_that_only_the_config_claims_take_no_memory(run):
  """The config is of a model of gigabytes, the weights are of a small one."""
  edit(run, config__latent_dim=65_536, config__model__channels=[4096, 4096])
  for step in run_folder_steps(run):
    rewrite_config(run, step)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with pytest.raises(InputError, match=str(run / 'checkpoints')):
    cvae_jax.load(run)
  unit = 1 if sys.platform == 'darwin' else 1024
  assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 1 << 29


def test_checkpoints_of_training_are_far_from_the_limit(tiny_run):
  """Also after the first steps, where many of the numbers are equal."""
  step = tiny_run / 'checkpoints' / '2'
  for item in ('model', 'ema', 'optimizer'):
    leaves = jax.tree.leaves(ocp.StandardCheckpointHandler().metadata(step / item))
    promised = sum(leaf.dtype.itemsize * int(np.prod(leaf.shape)) for leaf in leaves)
    on_disk = sum(path.stat().st_size for path in (step / item).rglob('*') if path.is_file())
    assert promised < checkpoint_items.MAX_RATIO / 20 * on_disk


def test_a_prior_of_other_shapes_is_refused(run):
  from cvae_jax.models import fitted_prior

  model = cvae_jax.load(run, checkpoint='last')
  folder = run / 'checkpoints' / '6'
  wrong = fitted_prior.FittedPrior(*(np.concatenate([x, x])[..., :2] for x in model.prior.fitted))
  fitted_prior.save(folder, wrong, model.variables)
  model = cvae_jax.load(run, checkpoint='last')
  with pytest.raises(InputError, match=r'prior\.safetensors'):
    model.sample([3])
  assert model.sample([3], prior='model').shape == (1, 8, 8, 1)
