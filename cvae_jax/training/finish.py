"""What a run leaves when it has ended: samples, the projector's files, fitted priors, a summary."""

import shlex
import time
from pathlib import Path

from cvae_jax.models import fitted_prior
from cvae_jax.plots import grids
from cvae_jax.runtime import devices, processes
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import checkpoints, program, projector, run_folder
from cvae_jax.training.program import Program
from cvae_jax.training.progress import Reporter, validation_text
from cvae_jax.training.state import TrainState


def finish(prog: Program, workdir: Path, state: TrainState, reporter: Reporter) -> None:
  """Writes what is not there yet, and says what the run came to."""
  grid_path = workdir / run_folder.SAMPLES / f'step_{state.step}.png'
  with processes.together():
    if processes.is_main() and not grid_path.exists():
      mean, shown = program.validation_latents(prog, state.eval_variables)
      projector.write(workdir, mean, *shown)
      # Last, for where it lies all is done.
      grids.save_png(grid_path, program.sample_grid(prog, state.eval_variables))
  best = program.agree_on_step(run_folder.CheckpointPath(workdir, None), 'best')
  if prog.config.objective == 'dae':
    reporter.line(f'corrupted images and what it makes of them: {grid_path}')
  else:
    _fit_priors(prog, workdir, state, best, reporter)
    reporter.line(f'samples of the prior it was trained with: {grid_path}')
  # All look for them, since Orbax has its readers wait for one another.
  metrics = checkpoints.read_metrics(workdir)
  for line in _summary(prog, workdir, metrics, best, int(state.step)):
    reporter.line(line)


def _summary(
  prog: Program, workdir: Path, metrics: dict[int, dict[str, float]], best: int, last: int
) -> list[str]:
  """The best and the last checkpoint with their validation, and what to do with them."""
  names = {best: 'best', last: 'last'} if best != last else {last: 'best and last'}
  lines = []
  for step, name in names.items():
    line = f'{name}: epoch {step / prog.steps_per_epoch:.4g}, step {step}'
    if values := metrics.get(step):
      line += f', {validation_text(values)}'
    lines.append(line)
  folder = shlex.quote(str(workdir))
  if prog.config.objective == 'dae':
    return [
      *lines,
      f'beside others:    python evaluate.py --compare {folder} OTHER',
      f'to look at it:    python sample.py --mode=reconstruct --indices=0,1,2 --workdir={folder}',
    ]
  return [
    *lines,
    f'to judge it:      python evaluate.py --workdir={folder}',
    f'to draw from it:  python sample.py --workdir={folder}',
  ]


def _fit_priors(
  prog: Program, workdir: Path, state: TrainState, best: int, reporter: Reporter
) -> None:
  """Stores a fitted prior with the best and the last checkpoint that have none of their own."""
  num_classes = fitted_prior.num_classes(prog.config)
  size = num_classes * prog.config.latent_dim**2
  if size > fitted_prior.MAX_NUMBERS:
    reporter.line(
      f'no fitted prior: the covariances of {num_classes:,} classes would be {size:,} numbers, '
      f"more than {fitted_prior.MAX_NUMBERS:,}; samples come from the model's own prior"
    )
    return
  last = int(state.step)
  for step in sorted({best, last}):
    folder = run_folder.checkpoint_path(workdir, step)
    variables = state.eval_variables
    if step != last:
      variables, _ = checkpoints.restore_variables(workdir, str(step), prog.config, variables)
    variables = devices.own_copy(variables)
    if processes.from_main(_has_prior(prog, folder, variables)):
      continue
    # The others wait: JAX ends all processes some minutes after the first has left.
    with processes.together():
      if processes.is_main():
        reporter.line(_fit_prior(prog, folder, variables))


def _fit_prior(prog: Program, folder: Path, variables) -> str:
  """Fits a prior to `variables`, stores it beside them in `folder`, and says so."""
  began = time.perf_counter()
  try:
    fitted, num_small = program.fit_prior(prog, variables)
  except InputError as error:
    return f'no fitted prior of step {folder.name}: {error}'
  fitted_prior.save(folder, fitted, variables)
  few = f' ({num_small} with few images: the fit of all)' if num_small else ''
  seconds = time.perf_counter() - began
  return f'fitted prior of step {folder.name}: {fitted}{few}, in {seconds:.0f} s'


def _has_prior(prog: Program, folder: Path, variables) -> bool:
  try:
    return fitted_prior.read(folder, variables, prog.config) is not None
  except InputError:  # it is damaged, or of other weights
    return False
