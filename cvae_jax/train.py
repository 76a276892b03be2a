"""Trains a conditional VAE. The same command resumes an interrupted run.

Examples:
  python train.py --config digits                   2 minutes on two CPU cores, no download
  python train.py --config mnist --smoke            does my setup work?
  python train.py --config folder --config.data.dir=DIR
  python train.py --config my_config.py             a file of your own
  python train.py --config mnist --config.beta=4 --workdir runs/mnist-beta4
  python train.py --config mnist --resume_from runs/mnist --workdir runs/mnist-on
  python train.py --config mnist --sweep beta=0.5,1,2 --sweep seed=0,1    six runs
  python train.py --config mnist --find_lr          or --find_batch_size
"""

from absl import flags
from ml_collections import config_flags

from cvae_jax import cli
from cvae_jax import config as config_lib
from cvae_jax.runtime import process_flags
from cvae_jax.runtime.errors import InputError

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'An experiment: a name in configs/, or a file.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; by default runs/<name>.')
_RESUME_FROM = flags.DEFINE_string(
  'resume_from', None, 'Continue this run or checkpoint, optimizer included, in a new workdir.'
)
_SMOKE = flags.DEFINE_bool('smoke', False, 'Only one step, validation batch and grid; no files.')
_SWEEP = flags.DEFINE_multi_string(
  'sweep', None, 'FIELD=VALUE,VALUE,...: train each combination, in runs/<name>-sweep/.'
)
_FIND_LR = flags.DEFINE_bool('find_lr', False, 'Suggest a learning rate from a 100-step ramp.')
_FIND_BATCH_SIZE = flags.DEFINE_enum(
  'find_batch_size',
  None,
  ['power', 'binsearch'],
  'Measure the speed of batch sizes (power, the default) or find the largest that fits.',
)
_APPLY = flags.DEFINE_bool('apply', False, 'Train with the learning rate that --find_lr suggests.')
flags.adopt_module_key_flags(process_flags)


def main() -> None:
  ignored = () if _APPLY.value else ('resume_from',)
  cli.check_alone({'smoke': ignored, 'find_lr': ignored, 'find_batch_size': ignored, 'sweep': ()})
  if _APPLY.value and not _FIND_LR.value:
    raise InputError('--apply needs --find_lr: add that, or leave it out.')
  config = _CONFIG.value
  if not process_flags.distributed():  # otherwise checked later, so that all processes hear of it
    config_lib.check(config)
  # Late: help and wrong flags do not wait for JAX.
  from cvae_jax.evaluation import experiment
  from cvae_jax.runtime import devices, numerics, paths, processes
  from cvae_jax.training import batch_size_finder, learning_rate_finder, loop

  devices.keep_freed_memory()
  devices.use_compilation_cache()
  numerics.pin()
  planned = experiment.of_file(config_flags.get_config_filename(flags.FLAGS['config']))
  with processes.joined(*process_flags.connection()):
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
        from cvae_jax.evaluation import sweep  # late: it imports matplotlib

        sweep.run(config, _SWEEP.value or (), planned, _WORKDIR.value, resume_from)
      else:
        loop.train(config, workdir, resume_from)


def run() -> None:
  cli.run(main, __doc__, 'Interrupted. The same command resumes from the last checkpoint.')


if __name__ == '__main__':
  run()
