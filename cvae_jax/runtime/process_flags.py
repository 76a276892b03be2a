"""Flags for training with several processes; defined apart from `processes`, which needs JAX."""

from absl import flags

_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'Train one run with several processes, each started with this command, on a shared file system. '
  'With SLURM, Open MPI or a cloud TPU, the three flags below can be left out.',
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
  'coordinator_address', None, 'HOST:PORT of process 0 (or $JAX_COORDINATOR_ADDRESS).'
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'Number of processes (or $JAX_NUM_PROCESSES).', 1
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Number of this process, from 0 (or $JAX_PROCESS_ID).', 0
)


def distributed() -> bool:
  """Whether --distributed is given."""
  return _DISTRIBUTED.value


def connection() -> tuple[bool, str | None, int | None, int | None]:
  """The arguments of `processes.joined`."""
  return tuple(
    flag.value for flag in (_DISTRIBUTED, _COORDINATOR_ADDRESS, _NUM_PROCESSES, _PROCESS_ID)
  )
