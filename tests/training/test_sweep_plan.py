"""The runs of a sweep: their values, names and folders."""

import pytest

from cvae_jax.runtime.errors import InputError
from cvae_jax.training import sweep_plan
from cvae_jax.training.sweep_plan import Axis
from tiny import tiny_config

CONFIG = tiny_config()
AUGMENTATIONS = ('rotation', 'shift', 'flip', 'brightness', 'contrast', 'auto_contrast')


@pytest.mark.parametrize(
  ('text', 'field', 'values'),
  [
    ('beta=0.5,1,2', 'beta', (0.5, 1.0, 2.0)),
    ('config.seed=0, 1', 'seed', (0, 1)),
    ('conditional=true,False', 'conditional', (True, False)),
    ('model.channels=(4,8),(8)', 'model.channels', ((4, 8), (8,))),
    ('beta_schedule=linear', 'beta_schedule', ('linear',)),
    ('data.image_size=8,(16,8),(12, 9)', 'data.image_size', (8, (16, 8), (12, 9))),
  ],
)
def test_values_have_the_type_of_their_field(text, field, values):
  assert sweep_plan.parse(text, CONFIG) == Axis(field, values)


@pytest.mark.parametrize(
  ('texts', 'message'),
  [
    (['beta'], "'beta' "),
    (['beta='], 'beta'),
    (['bta=1'], "'bta' is no config field. Did you mean 'beta'"),
    (['name=a,b'], "'name' makes no other run"),
    (['tracker=none,wandb'], "'tracker' makes no other run"),
    (['beta=1,x'], "beta='x' is not a number, 0 or more"),
    (['beta=1,-2'], 'beta=-2: beta=-2.0 is not a number, 0 or more'),
    (['seed=0.5'], "seed='0.5' is not an integer"),
    (['data.image_size=8x9'], "data.image_size='8x9' is not a number of pixels"),
    (['conditional=maybe'], "conditional='maybe' is not True or False"),
    (['beta=1,1.0'], 'beta=1,1.0 '),
    (['beta=1', 'beta=2'], ' beta, beta'),
    (
      ['prior=class_gaussian', 'conditional=False'],
      'prior=class_gaussian,conditional=False: prior=',
    ),
    (
      [f'{field}={",".join(map(str, range(40)))}' for field in ('seed', 'beta')],
      '1,600',
    ),
  ],
)
def test_mistakes_name_the_field_and_the_value(texts, message, tmp_path):
  with pytest.raises(InputError) as caught:
    sweep_plan.members(CONFIG, [sweep_plan.parse(text, CONFIG) for text in texts], tmp_path)
  assert message in str(caught.value)


def test_long_names_are_shortened_to_distinct_folders(tmp_path):
  axes = [Axis(f'data.augment.{name}_probability', (0.25, 0.5)) for name in AUGMENTATIONS]
  runs = sweep_plan.members(CONFIG, [*axes, Axis('init_from', ('a/b', 'a_b'))], tmp_path)
  names = [run.workdir.name for run in runs]
  assert len(set(names)) == len(names) == 2**7
  assert all(len(name) <= 210 and '/' not in name for name in names)
  assert all(run.workdir.parent == tmp_path for run in runs)
