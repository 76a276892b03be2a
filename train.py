r"""Trains a conditional VAE, or goes on with a run where its folder stands.

Examples:
  python train.py --config configs/digits.py             2 minutes on two CPU cores, no download
  python train.py --config configs/mnist.py --smoke      does my setup work?
  python train.py --config configs/mnist.py --config.data.dir=DIR
  python train.py --config configs/folder.py --config.data.dir=DIR --config.data.num_classes=5
  python train.py --config configs/mnist.py --config.beta=4 --workdir runs/mnist-beta4
  python train.py --config configs/mnist.py --resume_from runs/mnist/checkpoints/4290 \
      --workdir runs/mnist-on
  python train.py --config configs/mnist.py --distributed  in each task of a SLURM job
  tensorboard --logdir runs
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from cvae_jax import command_line
from cvae_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment: a file of configs/.')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, "The run's folder; runs/<name of the config> if not given."
)
_RESUME_FROM = flags.DEFINE_string(
  'resume_from',
  None,
  'Go on from this checkpoint, optimizer state and step included, in a new workdir.',
)
_SMOKE = flags.DEFINE_bool(
  'smoke', False, 'One train step, one validation batch, one sample grid; nothing left on disk.'
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'This is one of several processes that train one run, each started with this command. They share '
  'a file system and meet at process 0. SLURM, Open MPI and cloud TPU tell JAX what is needed.',
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
  'coordinator_address', None, 'HOST:PORT of process 0; or $JAX_COORDINATOR_ADDRESS.'
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'How many processes there are; or $JAX_NUM_PROCESSES.', 1
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, "This one's number, from 0; or $JAX_PROCESS_ID.", 0
)


def main() -> None:
  if not _CONFIG.present:
    raise InputError('--config is missing: name an experiment, e.g. --config configs/digits.py.')
  # Late, so that --help and mistyped flags do not wait for JAX.
  from cvae_jax import config as config_lib

  config = _CONFIG.value
  if not _DISTRIBUTED.value:  # else once the others are there, to hear of it too
    config_lib.check(config)
  from cvae_jax import devices, paths, processes
  from cvae_jax.training import loop

  devices.keep_freed_memory()
  meeting = (_COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  with processes.joined(_DISTRIBUTED.value, *meeting):
    if _SMOKE.value:
      loop.smoke(config)
      return
    devices.use_compilation_cache()
    workdir = paths.from_user(_WORKDIR.value or Path('runs') / config.name)
    resume_from = paths.from_user(_RESUME_FROM.value) if _RESUME_FROM.value else None
    loop.train(config, workdir, resume_from)


if __name__ == '__main__':
  command_line.run(
    main, __doc__, interrupted='Interrupted. The same command goes on from the last checkpoint.'
  )
