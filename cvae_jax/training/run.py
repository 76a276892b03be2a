"""One run under way: its state, its folder, and what a person hears of it after each chunk."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from clu import parameter_overview

from cvae_jax import config as config_lib
from cvae_jax.evaluation.latents import ACTIVE_VARIANCE, active_units
from cvae_jax.evaluation.metrics import bits_per_dimension
from cvae_jax.models import likelihoods
from cvae_jax.runtime import devices, keys, processes
from cvae_jax.runtime.errors import StoppedError, WriteError, reason
from cvae_jax.training import checkpoints, chunks, program, run_folder, start, stopping, terms
from cvae_jax.training import writers as writers_lib
from cvae_jax.training.checkpoints import Best, Checkpoints
from cvae_jax.training.finish import finish
from cvae_jax.training.profiling import make_profiler
from cvae_jax.training.program import Program
from cvae_jax.training.progress import Reporter
from cvae_jax.training.state import TrainState
from cvae_jax.training.stopping import Cause
from cvae_jax.training.writers import Writers


@contextlib.contextmanager
def writing_to(workdir: Path) -> Iterator[None]:
  """Raises WriteError, with advice, where the block meets a folder that cannot be written."""
  try:
    yield
  except (OSError, WriteError) as error:
    why = str(error) if isinstance(error, WriteError) else reason(error)
    raise WriteError(
      f'{workdir} cannot be written to: {why}. Every checkpoint in it is whole: once that is '
      'mended, the same command goes on from the newest.'
    ) from error


class Run:
  """A run between two chunks of steps; made by `opened`.

  `state` is the run's, and given to `took` anew after each chunk.
  """

  def __init__(
    self,
    prog: Program,
    workdir: Path,
    state: TrainState,
    window: terms.Window,
    saved: Checkpoints,
    reporter: Reporter,
  ):
    self.prog = prog
    self.workdir = workdir
    self.state = state
    self.reporter = reporter
    self._saved = saved
    self._best = Best(*processes.from_main(saved.best))
    self._window = window
    self._is_collapsed = False  # which is said once

  def is_complete(self) -> bool:
    """Whether no step is left to be taken."""
    return int(self.state.step) >= self.prog.total_steps or self._is_stagnant(int(self.state.step))

  def bounds(self) -> Iterator[tuple[int, int]]:
    """The chunks that are left."""
    return chunks.bounds(
      int(self.state.step),
      self.prog.total_steps,
      self.prog.steps_per_epoch,
      self.prog.config.checkpoint_every_steps,
      self.prog.feed.longest,
    )

  def begin(self) -> None:
    """Introduces the run, and opens its logs where they stand."""
    config, now = self.prog.config, int(self.state.step)
    self._introduce()
    seconds_before = 0.0
    if processes.is_main():
      seconds_before = writers_lib.forget_after(self.workdir, now, self.reporter.line)
    self._log = writers_lib.Silence()
    if processes.is_main():
      self._log = Writers(self.workdir, config, self.reporter.line)
    self._profiler = make_profiler(
      config.profile and processes.is_main(), self.workdir, self.reporter.line
    )
    self._pending = [self._window] if self._window else []
    self._seen, self._skipped = now, 0  # the last step whose terms the host has seen; left out
    self._clock = _Clock(config.batch_size, seconds_before)
    self.reporter.start(now)

  def took(self, begin: int, now: int, state: TrainState, chunk_terms, stop: Cause | None) -> bool:
    """Logs, validates and saves what is due after a chunk of steps.

    Args:
      begin: where it began.
      now: the step after it.
      state: the run's, dispatched if not computed.
      chunk_terms: of each step.
      stop: what asks for an end.

    Returns:
      Whether the run has ended.

    Raises:
      NonFiniteError: a number of the chunk is not finite.
      StoppedError: it was asked to end, and a checkpoint lies there.
    """
    prog, config, reporter = self.prog, self.prog.config, self.reporter
    self.state = state
    if self._pending:
      # The device has its next work; were it given more, that would take memory already.
      jax.block_until_ready(self._pending[-1])
    self._pending.append(chunk_terms)
    self._clock.steps += now - begin
    reporter.advance(now)
    if self._profiler:
      self._profiler(now, chunk_terms)
    epoch, into_epoch = divmod(now, prog.steps_per_epoch)
    ends_epoch = into_epoch == 0
    logs = ends_epoch or now // config.log_every_steps > begin // config.log_every_steps
    saves = bool(config.checkpoint_every_steps) and now % config.checkpoint_every_steps == 0
    stop = stopping.agreed(stop, is_meeting=logs or saves)
    saves |= stop is not None
    if not (logs or saves):
      return False

    # Only from here on does the host wait for the device.
    lines, window, images_per_second = self._read_terms(now, flush=ends_epoch)
    validation = shown = None
    if ends_epoch and (epoch % config.eval_every_epochs == 0 or now == prog.total_steps):
      validation = self._validate()
      shown = terms.leaving_out(validation, config)
    for step, averages in lines:
      reporter.terms(step, averages, images_per_second)
      row = {f'train/{name}': value for name, value in averages.items()}
      if validation and step == now:
        row |= {f'validation/{name}': value for name, value in shown.items()}
      row |= {'epoch': step / prog.steps_per_epoch, 'images_per_second': images_per_second}
      self._log.write_scalars(step, row | {'seconds': self._clock.seconds()})
    if validation:
      terms.check_finite(shown, now, self._saved.latest_path)
      self._draw(now)
    is_over = now == prog.total_steps
    if validation:
      is_best = validation['negative_elbo'] <= self._best.value
      self._best = Best(validation['negative_elbo'], now) if is_best else self._best
      is_over |= self._is_stagnant(now)
      saves |= is_best
    saves |= is_over or (ends_epoch and epoch % config.checkpoint_every_epochs == 0)
    if saves:
      self._saved.save(state, now, window, validation)
    if validation:
      reporter.validation(epoch, validation, self._clock.epoch_seconds())
      before = now - config.eval_every_epochs * prog.steps_per_epoch
      risen = max(prog.warmup_steps, 1)
      if risen <= now and (before < risen or is_over):
        self._warn_of_collapse()
    if ends_epoch:
      self._clock.next_epoch()
    if is_over:
      self._saved.wait()
      if now < prog.total_steps:
        reporter.line(
          'stopped early: no better validation since epoch '
          f'{self._best.step / prog.steps_per_epoch:.4g} '
          f'(early_stopping_epochs={config.early_stopping_epochs})'
        )
      return True
    if stop:
      self._saved.wait()
      raise StoppedError(
        f'Stopped by {stop.name} at step {now} of {prog.total_steps}, where a checkpoint lies: '
        'the same command goes on from it.',
        stop.status,
      )
    self._clock.restart()
    return False

  def end(self) -> None:
    """Closes the logs, however the run ended."""
    if self._profiler:
      self._profiler.close()
    self._log.close()

  def finish(self) -> None:
    """Writes what a complete run leaves behind, and says what it came to."""
    finish(self.prog, self.workdir, self.state, self.reporter)

  def _read_terms(self, now: int, flush: bool):
    """Waits for the terms of the last steps: the lines due, the rest, and images per second."""
    config = self.prog.config
    window = terms.concatenate(jax.device_get(self._pending))
    usable = terms.usable_steps(window, config)
    new = usable[-(now - self._seen) :]
    self._skipped = terms.check_usable(
      window, new, now, self._skipped, self._saved.latest_path, config
    )
    if not new.all():
      self.reporter.line(f'{np.sum(~new)} of the {len(new)} steps up to {now} were skipped')
    self._seen = now
    pace = self._clock.images_per_second()
    lines, window = terms.average(window, usable, now, config.log_every_steps, flush)
    lines = [(step, terms.leaving_out(averages, config)) for step, averages in lines]
    self._pending = [window] if window else []
    return lines, window, pace

  def _is_stagnant(self, now: int) -> bool:
    """Whether the validation has not improved for as long as the config would wait."""
    prog = self.prog
    patience = prog.config.early_stopping_epochs * prog.steps_per_epoch
    return stopping.is_stagnant(now, self._best.step, prog.warmup_steps, patience)

  def _validate(self) -> dict[str, float]:
    """The validation set's ELBO at β = 1, with the same noise at every epoch."""
    config = self.prog.config
    images, labels, _ = self.prog.validation
    key = keys.stream(config.seed, 'validation')
    validation = self.prog.evaluate(self.state.eval_variables, images, labels, key)
    if config.objective == 'dae':
      del validation['kl']  # the negative ELBO, by which the best is chosen, is the reconstruction
    elif likelihoods.is_probability(config):
      validation['bits_per_dim'] = bits_per_dimension(validation['negative_elbo'], images.shape[1:])
    return validation

  def _draw(self, now: int) -> None:
    if processes.is_main():
      variables = self.state.eval_variables
      self._log.write_pictures(
        now,
        {
          'samples': program.sample_grid(self.prog, variables),
          'reconstructions': program.reconstruction_grid(self.prog, variables),
        },
      )

  def _warn_of_collapse(self) -> None:
    """Says so where the KL has grown to its full weight and few latents are used."""
    config = self.prog.config
    if not processes.is_main() or config.objective == 'dae' or self._is_collapsed:
      return
    mean, shown = program.validation_latents(self.prog, self.state.eval_variables)
    count = int(active_units(mean).sum())
    self._is_collapsed = count < config.min_active_share * config.latent_dim
    if self._is_collapsed:
      self.reporter.line(
        f'posterior collapse: {count} of {config.latent_dim} latents answer to the image (variance '
        f'of their posterior means above {ACTIVE_VARIANCE:g}, {len(shown.labels):,} validation '
        f'images). Try a lower --config.beta, --config.free_bits=0.1, a longer '
        '--config.beta_warmup_epochs, or --config.beta_schedule=cyclical'
      )

  def _introduce(self) -> None:
    prog, reporter = self.prog, self.reporter
    params = devices.own_copy(self.state.variables['params'])
    streams = ', images streamed from the host' if prog.placement == 'stream' else ''
    reporter.line(
      f'{prog.config.name}: {parameter_overview.count_parameters(params):,} parameters, '
      f'{len(prog.train.labels):,} training and {len(prog.validation.labels):,} validation images '
      f'of {prog.config.data.name}, {prog.steps_per_epoch} steps an epoch on {prog.mesh.size} '
      f'{jax.default_backend()} device(s){streams}, in {self.workdir}'
    )
    if prog.beta_delay_steps >= prog.total_steps:
      reporter.line(
        f'β stays 0: its delay of {prog.beta_delay_steps} steps is as long as the run of '
        f'{prog.total_steps}.'
      )
    if step := int(self.state.step):
      reporter.line(f'resuming at step {step} (epoch {step / prog.steps_per_epoch:.2f})')
    reporter.note('\n' + parameter_overview.get_parameter_overview(params))


@contextlib.contextmanager
def opened(prog: Program, workdir: Path, name: str = '') -> Iterator[Run]:
  """Takes the folder of a run, and the state it stands at; begins it where there is none.

  Args:
    prog: the run's.
    workdir: its folder.
    name: what its lines on the screen begin with, where several runs share the screen.

  Raises:
    InputError: the folder cannot be used.
    WriteError: it cannot be written to.
  """
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
    reporter = Reporter(log_path, config.num_epochs, prog.steps_per_epoch, name)
    held.callback(reporter.close)
    if resumes:
      state, window, damaged = checkpoints.resume(workdir, config, state)
      for step, fault in damaged.items():
        reporter.line(
          f'checkpoint {step} is damaged ({fault}) and was moved to {workdir / checkpoints.DAMAGED}'
        )
    elif processes.is_main() and (
      kept := writers_lib.keep_copy(workdir, workdir / checkpoints.DAMAGED)
    ):
      # Where there was a validation there was a checkpoint, or one was being written.
      reporter.line(f'{workdir} has no checkpoint: it begins anew, and its log is kept as {kept}')
    saved = Checkpoints(workdir, config.keep_checkpoints, config)
    held.callback(saved.close)
    yield Run(prog, workdir, state, window, saved, reporter)


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
