"""Trains a conditional VAE, or goes on with a run where its folder stands.

Examples:
  python train.py --config configs/digits.py             2 minutes on two CPU cores, no download
  python train.py --config configs/mnist.py --smoke      does my setup work?
  python train.py --config configs/folder.py --config.data.dir=DIR --config.data.num_classes=5
  python train.py --config configs/mnist.py --config.beta=4 --workdir runs/mnist-beta4
  python train.py --config configs/mnist.py --resume_from runs/mnist --workdir runs/mnist-on
  python train.py --config configs/mnist.py --sweep beta=0.5,1,2 --sweep seed=0,1    six runs
  python train.py --config configs/mnist.py --find_lr    or --find_batch_size
"""

from absl import flags
from ml_collections import config_flags

from cvae_jax import cli as command_line
from cvae_jax.runtime import process_flags
from cvae_jax.runtime.errors import InputError

_CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment: a file of configs/.')
_WORKDIR = flags.DEFINE_string('workdir', None, "The run's folder; runs/<name> if not given.")
_RESUME_FROM = flags.DEFINE_string(
  'resume_from', None, 'Go on from this run or checkpoint, optimizer and all, in a new workdir.'
)
_SMOKE = flags.DEFINE_bool('smoke', False, 'One step, validation batch and grid; writes nothing.')
_SWEEP = flags.DEFINE_multi_string(
  'sweep', None, 'FIELD=VALUE,VALUE,...: a run for each, in runs/<name>-sweep/; may be repeated.'
)
_FIND_LR = flags.DEFINE_bool(
  'find_lr', False, 'Suggest a learning rate, from 100 steps of a ramp; the run is left alone.'
)
_FIND_BATCH_SIZE = flags.DEFINE_enum(
  'find_batch_size',
  None,
  ['power', 'binsearch'],
  'Try batch sizes: the pace of each (power, if not said), or the largest that fits (binsearch).',
)
_APPLY = flags.DEFINE_bool('apply', False, 'Go on to train with what --find_lr suggests.')
flags.adopt_module_key_flags(process_flags)


def main() -> None:
  rest = () if _APPLY.value else ('resume_from',)  # what means nothing to them
  command_line.check_alone({'smoke': rest, 'find_lr': rest, 'find_batch_size': rest, 'sweep': ()})
  if _APPLY.value and not _FIND_LR.value:
    raise InputError('--apply goes on with what --find_lr suggests: give both, or neither.')
  from cvae_jax import config as config_lib  # late: --help and mistyped flags wait for no JAX

  config = _CONFIG.value
  if not process_flags.distributed():  # else once the others are there, to hear of it too
    config_lib.check(config)
  from cvae_jax.evaluation import experiment
  from cvae_jax.runtime import devices, paths, processes
  from cvae_jax.training import batch_size_finder, learning_rate_finder, loop

  devices.keep_freed_memory()
  devices.use_compilation_cache()
  planned = experiment.of_file(config_flags.get_config_filename(flags.FLAGS['config']))
  with processes.joined(*process_flags.meeting()):
    workdir = paths.from_user(_WORKDIR.value or f'runs/{config.name}')
    resume_from = paths.from_user(_RESUME_FROM.value) if _RESUME_FROM.value else None
    if _SMOKE.value:
      loop.smoke(config)
    elif _FIND_BATCH_SIZE.value:
      batch_size_finder.suggest(config, _FIND_BATCH_SIZE.value)
    elif _FIND_LR.value and not _APPLY.value:
      learning_rate_finder.suggest(config, workdir)
    else:
      if _APPLY.value:
        config.learning_rate = learning_rate_finder.suggest(config, workdir)
      if _SWEEP.value or planned:
        from cvae_jax.evaluation import sweep  # late: matplotlib is slow to import

        sweep.run(config, _SWEEP.value or (), planned, _WORKDIR.value, resume_from)
      else:
        loop.train(config, workdir, resume_from)


if __name__ == '__main__':
  command_line.run(main, __doc__, 'Interrupted. The same command goes on from the last checkpoint.')
