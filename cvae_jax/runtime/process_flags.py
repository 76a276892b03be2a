"""The flags that make a command one of several processes of a run."""

from absl import flags

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


def distributed() -> bool:
  """Whether there are several."""
  return _DISTRIBUTED.value


def meeting() -> tuple[bool, str | None, int | None, int | None]:
  """What `processes.joined` takes."""
  return (
    _DISTRIBUTED.value,
    _COORDINATOR_ADDRESS.value,
    _NUM_PROCESSES.value,
    _PROCESS_ID.value,
  )
