"""The loop: the one place of training that has side effects."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from clu import parameter_overview

from cvae_jax import config as config_lib
from cvae_jax import devices, fitted_prior, grids, keys, processes
from cvae_jax.errors import InputError, OccupiedError, StoppedError
from cvae_jax.evaluation.metrics import bits_per_dimension
from cvae_jax.objectives import likelihoods
from cvae_jax.training import (
  checkpoints,
  chunks,
  program,
  projector,
  run_folder,
  stopping,
  terms,
  writers,
)
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.profiling import make_profiler
from cvae_jax.training.program import Program
from cvae_jax.training.progress import Reporter
from cvae_jax.training.state import TrainState
from cvae_jax.training.stopping import Cause
from cvae_jax.training.writers import Writers


def train(config, workdir: Path, resume_from: Path | None = None) -> None:
  """Trains the run that `config` describes, or goes on with it where its folder stands.

  Several processes may do so together (`processes.joined`): all compute and write checkpoints, and
  process 0 alone writes the rest. What they do next, they decide alike.

  Args:
    config: see configs/default.py.
    workdir: the run's folder; created once config and data have proved usable.
    resume_from: begin a new folder at this checkpoint of another one, with its optimizer state
      and step; the config may differ from that run's in all but the shapes of the weights.

  Raises:
    InputError: the config, the data or the folder cannot be used.
    NonFiniteError: the loss or its gradient is not finite; the last good checkpoint stays.
    StoppedError: a signal or the clock asked for an end, before which a checkpoint was written.
  """
  _check_command(
    config,
    smoke=False,
    workdir=str(workdir.absolute()),
    resume_from=resume_from and str(resume_from),
  )
  with processes.together():
    source = _check_start(config, workdir, resume_from)
  prog = program.build(config)
  if source is not None:
    _begin_at(source, prog, workdir)
  resumes = processes.from_main(run_folder.has_checkpoint(workdir))
  state, window = prog.fresh_state() if resumes else prog.initial_state(), {}
  with contextlib.ExitStack() as held:
    with processes.together():
      if processes.is_main():
        held.enter_context(run_folder.lock(workdir))
        run_folder.check_usable(workdir, config)  # again: another process may have been faster
        _check_same_data(workdir, prog)
        config_lib.save(workdir, config, prog.train.class_names, prog.data_fingerprint)
    log_path = workdir / 'train.log' if processes.is_main() else None
    reporter = Reporter(log_path, config.num_epochs, prog.steps_per_epoch)
    if resumes:
      state, window, damaged = checkpoints.resume(workdir, state)
      for step, fault in damaged.items():
        reporter.line(
          f'checkpoint {step} is damaged ({fault}) and was moved to {workdir / checkpoints.DAMAGED}'
        )
    saved = Checkpoints(workdir, config.keep_checkpoints)
    try:
      _finish(prog, workdir, state, window, saved, reporter)
    finally:
      saved.close()
      reporter.close()


def _check_command(config, **flags) -> None:
  """Raises InputError for a wrong config, or where another process was started with another."""
  with processes.together():
    config_lib.check(config)
  values = flags | {f'config.{name}': value for name, value in config_lib.fields(config)}
  processes.check_same({f'--{name}': value for name, value in values.items()})


def _check_start(
  config, workdir: Path, resume_from: Path | None
) -> run_folder.CheckpointPath | None:
  """Raises InputError where the run cannot begin; returns the checkpoint it is to begin at."""
  run_folder.check_usable(workdir, config)
  source = None if resume_from is None else run_folder.locate(resume_from)
  if source is not None:
    if run_folder.holds_run(workdir):
      raise OccupiedError(
        f'{workdir} holds a run already: to go on with that, leave out --resume_from.',
        run_folder.free_name(workdir),
      )
    program.check_same_shapes(source.run, config)
  if not run_folder.has_checkpoint(workdir):
    program.check_init_from(config)
  return source


def _check_same_data(workdir: Path, prog: Program) -> None:
  """Raises OccupiedError where the run in `workdir` was on other data than there are now."""
  if not run_folder.holds_run(workdir):
    return
  saved = config_lib.read(workdir)
  if saved.class_names != prog.train.class_names:
    before, now = (', '.join(x)[:100] for x in (saved.class_names, prog.train.class_names))
    raise OccupiedError(
      f'{workdir} holds a run on other data: its classes are {before}, those now {now}.',
      run_folder.free_name(workdir),
    )
  if saved.data_fingerprint not in (None, prog.data_fingerprint):
    raise OccupiedError(
      f'{workdir} holds a run on other data: images or labels have changed since it began. Bring '
      'them back to go on with it.',
      run_folder.free_name(workdir),
    )


def _begin_at(source: run_folder.CheckpointPath, prog: Program, workdir: Path) -> None:
  """Makes `workdir` a run that stands at a checkpoint of another one; whole or not at all."""
  step = program.agree_on_step(source, 'last')
  state, window = checkpoints.restore(source.run, step, prog.fresh_state())
  if int(state.step) >= prog.total_steps:
    raise InputError(
      f'The checkpoint is from step {state.step}, and the run would end at step '
      f'{prog.total_steps}. Raise --config.num_epochs above '
      f'{int(state.step) // prog.steps_per_epoch}.'
    )
  with run_folder.made_whole(workdir) as unfinished:
    saved = Checkpoints(unfinished, prog.config.keep_checkpoints)
    saved.save(state, int(state.step), window, validation=None)
    saved.close()
    if processes.is_main():
      config_lib.save(unfinished, prog.config, prog.train.class_names, prog.data_fingerprint)


def _finish(
  prog: Program,
  workdir: Path,
  state: TrainState,
  window: terms.Window,
  saved: Checkpoints,
  reporter: Reporter,
) -> None:
  """Goes on from `state` to the end of the run; writes the final grid, projector and priors."""
  if int(state.step) < prog.total_steps:
    _introduce(prog, state, workdir, reporter)
    with stopping.listening(prog.config.max_train_seconds) as asked_to_stop:
      state = _run(prog, workdir, state, window, saved, reporter, asked_to_stop)
      saved.wait()
  else:
    epochs = int(state.step) // prog.steps_per_epoch
    reporter.line(f'{workdir} is complete: {epochs} epochs, step {state.step}.')
  grid_path = workdir / 'samples' / f'step_{state.step}.png'
  with processes.together():
    if processes.is_main() and not grid_path.exists():
      mean, shown = program.validation_latents(prog, state.eval_variables)
      projector.write(workdir, mean, *shown)
      # Last, for where it lies all is done.
      grids.save_png(grid_path, program.sample_grid(prog, state.eval_variables))
  _fit_priors(prog, workdir, state, reporter)
  reporter.line(f'samples of the prior it was trained with: {grid_path}')


def _fit_priors(prog: Program, workdir: Path, state: TrainState, reporter: Reporter) -> None:
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
  best = program.agree_on_step(run_folder.CheckpointPath(workdir, None), 'best')
  for step in sorted({best, last}):
    folder = run_folder.checkpoint_path(workdir, step)
    variables = state.eval_variables
    if step != last:
      variables, _ = checkpoints.restore_variables(workdir, str(step), variables)
    variables = devices.own_copy(variables)
    if processes.from_main(_has_prior(folder, variables)):
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


def _has_prior(folder: Path, variables) -> bool:
  try:
    return fitted_prior.read(folder, variables) is not None
  except InputError:  # it is damaged, or of other weights
    return False


def _run(
  prog: Program,
  workdir: Path,
  state: TrainState,
  window: terms.Window,
  saved: Checkpoints,
  reporter: Reporter,
  asked_to_stop: Callable[[], Cause | None],
) -> TrainState:
  """Takes the steps that are left, and returns the state after the last."""
  config, steps_per_epoch = prog.config, prog.steps_per_epoch
  now = int(state.step)
  seconds_before = writers.forget_after(workdir, now) if processes.is_main() else 0.0
  log = Writers(workdir, reporter.line) if processes.is_main() else writers.Silence()
  log.write_hparams(dict(config_lib.fields(config)))
  profiler = make_profiler(config.profile and processes.is_main(), workdir, reporter.line)
  pending = [window] if window else []
  seen, skipped = now, 0  # the last step whose terms the host has seen; steps in a row left out
  clock = _Clock(config.batch_size, seconds_before)
  reporter.start(now)
  bounds = chunks.bounds(
    now, prog.total_steps, steps_per_epoch, config.checkpoint_every_steps, prog.feed.longest
  )
  try:
    for begin, now, data in prog.feed.chunks(bounds):
      state, chunk_terms = prog.chunk(state, data, num_steps=now - begin)
      if pending:
        # The device has its next work; were it given more, that would take memory already.
        jax.block_until_ready(pending[-1])
      pending.append(chunk_terms)
      clock.steps += now - begin
      reporter.advance(now)
      if profiler:
        profiler(now, chunk_terms)
      epoch, into_epoch = divmod(now, steps_per_epoch)
      ends_epoch = into_epoch == 0
      logs = ends_epoch or now // config.log_every_steps > begin // config.log_every_steps
      saves = bool(config.checkpoint_every_steps) and now % config.checkpoint_every_steps == 0
      stop = stopping.agreed(asked_to_stop(), is_meeting=logs or saves)
      saves |= stop is not None
      if not (logs or saves):
        continue

      # Only from here on does the host wait for the device.
      window = terms.concatenate(jax.device_get(pending))
      usable = terms.usable_steps(window, config)
      new = usable[-(now - seen) :]
      skipped = terms.check_usable(window, new, now, skipped, saved.latest_path, config)
      if not new.all():
        reporter.line(f'{np.sum(~new)} of the {len(new)} steps up to {now} were skipped')
      seen = now
      images_per_second = clock.images_per_second()
      lines, window = terms.average(window, usable, now, config.log_every_steps, flush=ends_epoch)
      pending = [window] if window else []
      validation = None
      if ends_epoch and (epoch % config.eval_every_epochs == 0 or now == prog.total_steps):
        validation = _validate(prog, state)
      for step, averages in lines:
        reporter.terms(step, averages, images_per_second)
        row = {f'train/{name}': value for name, value in averages.items()}
        if validation and step == now:
          row |= {f'validation/{name}': value for name, value in validation.items()}
        row |= {'epoch': step / steps_per_epoch, 'images_per_second': images_per_second}
        log.write_scalars(step, row | {'seconds': clock.seconds()})
      if validation:
        terms.check_finite(validation, now, saved.latest_path)
      if validation and processes.is_main():
        log.write_pictures(
          now,
          {
            'samples': program.sample_grid(prog, state.eval_variables),
            'reconstructions': program.reconstruction_grid(prog, state.eval_variables),
          },
        )
      if ends_epoch:
        saves |= epoch % config.checkpoint_every_epochs == 0 or now == prog.total_steps
        saves |= validation is not None and validation['negative_elbo'] < saved.best_value
        # Process 0's word, for what the others find on the disk may be older.
        saves = processes.from_main(saves)
      if saves:
        saved.save(state, now, window, validation)
      if validation:
        reporter.validation(epoch, validation, clock.epoch_seconds())
      if ends_epoch:
        clock.next_epoch()
      if stop:
        saved.wait()
        raise StoppedError(
          f'Stopped by {stop.name} at step {now} of {prog.total_steps}, where a checkpoint lies: '
          'the same command goes on from it.',
          stop.status,
        )
      clock.restart()
  finally:
    if profiler:
      profiler.close()
    log.close()
  return state


class _Clock:
  """Seconds of the run, stops left out, and of the epoch; the pace of the training steps alone."""

  def __init__(self, batch_size: int, seconds: float):
    self._batch_size = batch_size
    self._epoch_began = time.perf_counter()
    self._began = self._epoch_began - seconds
    self.restart()

  def restart(self) -> None:
    """Logging and validation are over: steps begin again."""
    self.steps, self._since = 0, time.perf_counter()

  def next_epoch(self) -> None:
    self._epoch_began = time.perf_counter()

  def images_per_second(self) -> float:
    return self.steps * self._batch_size / (time.perf_counter() - self._since)

  def epoch_seconds(self) -> float:
    return time.perf_counter() - self._epoch_began

  def seconds(self) -> float:
    return time.perf_counter() - self._began


def _validate(prog: Program, state: TrainState) -> dict[str, float]:
  """The validation set's ELBO at β = 1, with the same noise at every epoch."""
  config = prog.config
  images, labels, _ = prog.validation
  key = keys.stream(config.seed, 'validation')
  validation = prog.evaluate(state.eval_variables, images, labels, key)
  if likelihoods.is_probability(config):
    validation['bits_per_dim'] = bits_per_dimension(validation['negative_elbo'], images.shape[1:])
  return validation


def _introduce(prog: Program, state: TrainState, workdir: Path, reporter: Reporter) -> None:
  params = devices.own_copy(state.variables['params'])
  streams = ', images streamed from the host' if prog.placement == 'stream' else ''
  reporter.line(
    f'{prog.config.name}: {parameter_overview.count_parameters(params):,} parameters, '
    f'{len(prog.train.labels):,} training and {len(prog.validation.labels):,} validation images '
    f'of {prog.config.data.name}, {prog.steps_per_epoch} steps an epoch on {prog.mesh.size} '
    f'{jax.default_backend()} device(s){streams}, in {workdir}'
  )
  if prog.beta_delay_steps >= prog.total_steps:
    reporter.line(
      f'β stays 0: its delay of {prog.beta_delay_steps} steps is as long as the run of '
      f'{prog.total_steps}.'
    )
  if state.step:
    epoch = int(state.step) / prog.steps_per_epoch
    reporter.line(f'resuming at step {state.step} (epoch {epoch:.2f})')
  reporter.note('\n' + parameter_overview.get_parameter_overview(params))


def smoke(config) -> None:
  """One train step, one validation batch and one grid of samples, with nothing left on disk.

  Raises:
    InputError: the config or the data cannot be used.
    NonFiniteError: the step gave a number that is not finite.
  """
  began = time.perf_counter()
  _check_command(config, smoke=True)
  with processes.together():
    program.check_init_from(config)
  prog = program.build(config, at_most=config.batch_size)
  first = next(prog.feed.chunks([(0, 1)]))
  state, step_terms = prog.chunk(prog.initial_state(), first.data, num_steps=1)
  window = jax.device_get(step_terms)
  terms.check_finite({name: series[0] for name, series in window.items()}, now=1, last_good=None)
  print(
    f'train step: loss {window["loss"][0]:.2f} (reconstruction {window["reconstruction"][0]:.2f}, '
    f'KL {window["kl"][0]:z.2f}, β {window["beta"][0]:.3g})'
  )
  images, labels, _ = prog.validation
  key = keys.stream(config.seed, 'validation')
  validation = prog.evaluate(state.eval_variables, images, labels, key)
  print(f'validation batch of {len(labels)}: −ELBO {validation["negative_elbo"]:.2f}')
  height, width, _ = program.sample_grid(prog, state.eval_variables).shape
  print(f'sample grid: {width}×{height} pixels')
  print(f'All works, in {time.perf_counter() - began:.1f} s. Nothing was written.')
