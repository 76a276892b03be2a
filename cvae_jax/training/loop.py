"""The loop: the one place of training that has side effects."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from clu import parameter_overview

from cvae_jax import config as config_lib
from cvae_jax import devices, keys, processes
from cvae_jax.errors import StoppedError, WriteError, reason
from cvae_jax.evaluation.latents import ACTIVE_VARIANCE, active_units
from cvae_jax.evaluation.metrics import bits_per_dimension
from cvae_jax.objectives import likelihoods
from cvae_jax.training import (
  checkpoints,
  chunks,
  program,
  run_folder,
  start,
  stopping,
  terms,
  writers,
)
from cvae_jax.training.checkpoints import Best, Checkpoints
from cvae_jax.training.finish import finish
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
    WriteError: the folder cannot be written to any more.
  """
  start.check_command(
    config,
    smoke=False,
    workdir=str(workdir.absolute()),
    resume_from=resume_from and str(resume_from),
  )
  with processes.together():
    source = start.check_folder(config, workdir, resume_from)
  prog = program.build(config)
  try:
    if source is not None:
      start.begin_at(source, prog, workdir)
    _train(prog, workdir)
  except (OSError, WriteError) as error:
    why = str(error) if isinstance(error, WriteError) else reason(error)
    raise WriteError(
      f'{workdir} cannot be written to: {why}. Every checkpoint in it is whole: once that is '
      'mended, the same command goes on from the newest.'
    ) from error


def _train(prog: Program, workdir: Path) -> None:
  config = prog.config
  resumes = processes.from_main(run_folder.has_checkpoint(workdir))
  state, window = prog.fresh_state() if resumes else prog.initial_state(), {}
  with contextlib.ExitStack() as held:
    with processes.together():
      if processes.is_main():
        held.enter_context(run_folder.lock(workdir))
        run_folder.check_usable(workdir, config)  # again: another process may have been faster
        start.check_same_data(workdir, prog.described)
        config_lib.save(workdir, prog.described)
    log_path = workdir / 'train.log' if processes.is_main() else None
    reporter = Reporter(log_path, config.num_epochs, prog.steps_per_epoch)
    if resumes:
      state, window, damaged = checkpoints.resume(workdir, config, state)
      for step, fault in damaged.items():
        reporter.line(
          f'checkpoint {step} is damaged ({fault}) and was moved to {workdir / checkpoints.DAMAGED}'
        )
    elif processes.is_main() and (
      kept := writers.keep_copy(workdir, workdir / checkpoints.DAMAGED)
    ):
      # Where there was a validation there was a checkpoint, or one was being written.
      reporter.line(f'{workdir} has no checkpoint: it begins anew, and its log is kept as {kept}')
    saved = Checkpoints(workdir, config.keep_checkpoints, config)
    try:
      state = _advance(prog, workdir, state, window, saved, reporter)
      finish(prog, workdir, state, reporter)
    finally:
      reporter.close()
      saved.close()


def _advance(
  prog: Program,
  workdir: Path,
  state: TrainState,
  window: terms.Window,
  saved: Checkpoints,
  reporter: Reporter,
) -> TrainState:
  """Goes on from `state` to the end of the run, which may lie behind it already."""
  best = Best(*processes.from_main(saved.best))
  if int(state.step) < prog.total_steps and not _is_over(prog, int(state.step), best):
    _introduce(prog, state, workdir, reporter)
    with stopping.listening(prog.config.max_train_seconds) as asked_to_stop:
      state = _run(prog, workdir, state, window, saved, best, reporter, asked_to_stop)
      saved.wait()
  else:
    epochs = int(state.step) // prog.steps_per_epoch
    reporter.line(f'{workdir} is complete: {epochs} epochs, step {state.step}.')
  return state


def _is_over(prog: Program, now: int, best: Best) -> bool:
  """Whether the validation has not improved for as long as the config would wait."""
  patience = prog.config.early_stopping_epochs * prog.steps_per_epoch
  return stopping.is_stagnant(now, best.step, prog.warmup_steps, patience)


def _run(
  prog: Program,
  workdir: Path,
  state: TrainState,
  window: terms.Window,
  saved: Checkpoints,
  best: Best,
  reporter: Reporter,
  asked_to_stop: Callable[[], Cause | None],
) -> TrainState:
  """Takes the steps that are left, and returns the state after the last."""
  config, steps_per_epoch = prog.config, prog.steps_per_epoch
  now = int(state.step)
  seconds_before = 0.0
  if processes.is_main():
    seconds_before = writers.forget_after(workdir, now, reporter.line)
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
    for begin, now, data in prog.chunks(bounds):
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
      is_over = now == prog.total_steps
      if validation:
        is_best = validation['negative_elbo'] <= best.value
        best = Best(validation['negative_elbo'], now) if is_best else best
        is_over |= _is_over(prog, now, best)
        saves |= is_best
      saves |= is_over or (ends_epoch and epoch % config.checkpoint_every_epochs == 0)
      if saves:
        saved.save(state, now, window, validation)
      if validation:
        reporter.validation(epoch, validation, clock.epoch_seconds())
        if now - config.eval_every_epochs * steps_per_epoch < max(prog.warmup_steps, 1) <= now:
          _warn_of_collapse(prog, state, reporter)
      if ends_epoch:
        clock.next_epoch()
      if is_over:
        if now < prog.total_steps:
          reporter.line(
            f'stopped early: no better validation since epoch {best.step / steps_per_epoch:.4g} '
            f'(early_stopping_epochs={config.early_stopping_epochs})'
          )
        break
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


def _warn_of_collapse(prog: Program, state: TrainState, reporter: Reporter) -> None:
  """Says so where the KL has grown to its full weight and few latents are used."""
  if not processes.is_main():
    return
  config = prog.config
  mean, shown = program.validation_latents(prog, state.eval_variables)
  count = int(active_units(mean).sum())
  if count < config.min_active_share * config.latent_dim:
    reporter.line(
      f'posterior collapse: {count} of {config.latent_dim} latents answer to the image (variance '
      f'of their posterior means above {ACTIVE_VARIANCE:g}, {len(shown.labels):,} validation '
      f'images). Try a lower --config.beta, --config.free_bits=0.1, a longer '
      '--config.beta_warmup_epochs, or --config.beta_schedule=cyclical'
    )


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
  start.check_command(config, smoke=True)
  with processes.together():
    program.check_init_from(config)
  prog = program.build(config, at_most=config.batch_size)
  first = next(prog.chunks([(0, 1)]))
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
