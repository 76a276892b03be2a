"""The loop: the one place of training that has side effects."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics, parameter_overview
from jax import Array
from jax.sharding import Mesh

from cvae_jax import config as config_lib
from cvae_jax import devices, figures, generation, keys
from cvae_jax.data import batches, sources
from cvae_jax.errors import InputError, NonFiniteError
from cvae_jax.evaluation.metrics import bits_per_dimension, make_evaluate
from cvae_jax.models import cvae
from cvae_jax.objectives import likelihoods, schedules
from cvae_jax.training import checkpoints, run_folder, state, step, writers
from cvae_jax.training.checkpoints import Checkpoints
from cvae_jax.training.profiling import make_profiler
from cvae_jax.training.progress import Reporter
from cvae_jax.training.writers import Writers

GRID_COLUMNS = 10


@flax.struct.dataclass
class TrainMetrics(metrics.Collection):
  """Means over steps of what `step.TERMS` names."""

  loss: metrics.Average.from_output('loss')
  reconstruction: metrics.Average.from_output('reconstruction')
  kl: metrics.Average.from_output('kl')
  beta: metrics.Average.from_output('beta')
  gradient_norm: metrics.Average.from_output('gradient_norm')
  learning_rate: metrics.Average.from_output('learning_rate')


class Split(NamedTuple):
  """A split on the device, on every device the same."""

  images: Array  # uint8 [N, H, W, C]
  labels: Array  # int32 [N]


class Program(NamedTuple):
  """What a config compiles to, with its data on the device."""

  config: config_lib.ConfigDict
  mesh: Mesh
  train: Split
  validation: Split
  class_names: tuple[str, ...]
  steps_per_epoch: int
  initial_state: Callable[[], state.TrainState]
  order: Callable[[int], Array]
  chunk: Callable[..., tuple[state.TrainState, step.Terms]]
  evaluate: Callable[..., dict[str, float]]
  encode: Callable[..., tuple[Array, Array]]
  decode: Callable[..., Array]


def build(config) -> Program:
  """Loads the data and makes the functions of a run; nothing is written, little is compiled.

  Raises:
    InputError: the config or the data cannot be used.
  """
  config_lib.check(config)
  mesh = devices.mesh(config.batch_size)
  everywhere = devices.replicated(mesh)
  splits = sources.load(config)
  on_device = [
    Split(*jax.device_put((split.images, split.labels), everywhere))
    for split in (splits.train, splits.validation)
  ]
  num_train = len(splits.train.labels)
  steps_per_epoch = batches.steps_per_epoch(num_train, config.batch_size)

  model = cvae.build(config)
  likelihood = likelihoods.build(config)
  optimizer = state.build_optimizer(config, steps_per_epoch)
  beta_schedule = schedules.beta_schedule(
    config.beta_schedule,
    config.beta,
    config.beta_warmup_epochs * steps_per_epoch,
    config.num_epochs * steps_per_epoch,
    config.beta_cycles,
  )
  train_step = step.make_train_step(
    step.make_loss(model, likelihood, beta_schedule, config.data.binarize),
    optimizer,
    state.learning_rate_schedule(config, steps_per_epoch),
    config.ema_decay,
  )
  order = jax.jit(
    partial(
      batches.epoch_order, config.seed, num_examples=num_train, batch_size=config.batch_size
    ),
    out_shardings=everywhere,
  )
  return Program(
    config=config,
    mesh=mesh,
    train=on_device[0],
    validation=on_device[1],
    class_names=splits.train.class_names,
    steps_per_epoch=steps_per_epoch,
    initial_state=lambda: jax.device_put(_initial_state(config, model, optimizer), everywhere),
    order=order,
    chunk=step.make_chunk(train_step, keys.stream(config.seed, 'noise'), mesh),
    evaluate=make_evaluate(model, likelihood, config.data.binarize, config.batch_size, mesh),
    encode=generation.make_encode(model, likelihood),
    decode=generation.make_decode_mean(model, likelihood),
  )


def _initial_state(config, model, optimizer) -> state.TrainState:
  fresh = state.create(config, model, optimizer)
  if not config.init_from:
    return fresh
  run, saved_step = run_folder.locate(Path(config.init_from))
  _check_same_shapes(run, config)
  which = 'best' if saved_step is None else str(saved_step)
  variables, _ = checkpoints.restore_variables(run, which, fresh.variables)
  return state.start_from(config, optimizer, variables)


def _check_same_shapes(run: Path, config) -> None:
  saved = config_lib.read(run).config
  different = [
    difference
    for difference in config_lib.differences(saved, config)
    if difference.field in config_lib.SHAPES
  ]
  if different:
    raise InputError(
      f'The weights of {run} do not fit: {"; ".join(map(str, different))}. '
      'Set these fields to what they are there.'
    )


def smoke(config) -> None:
  """One train step, one validation batch and one grid of samples, with nothing left on disk."""
  program = build(config)
  reporter = Reporter(None, config.num_epochs, program.steps_per_epoch)
  started = time.perf_counter()
  current, terms = program.chunk(
    program.initial_state(), *program.train, program.order(0), num_steps=1
  )
  terms = {name: float(values[0]) for name, values in jax.device_get(terms).items()}
  _check_finite({name: [value] for name, value in terms.items()}, 0, None)
  reporter.line(
    f'train step: loss {terms["loss"]:.2f}, reconstruction {terms["reconstruction"]:.2f}, '
    f'KL {terms["kl"]:.2f}'
  )
  batch = Split(*(array[: config.batch_size] for array in program.validation))
  validation = program.evaluate(
    current.eval_variables, *batch, keys.stream(config.seed, 'validation')
  )
  reporter.line(
    f'validation batch of {len(batch.labels)}: −ELBO {validation["negative_elbo"]:.2f}'
  )
  picture = _sample_grid(program, current.eval_variables)
  reporter.line(f'sample grid: {picture.shape[1]}×{picture.shape[0]} pixels')
  reporter.line(f'All works, in {time.perf_counter() - started:.1f} s. Nothing was written.')


def train(config, workdir: Path, resume_from: Path | None = None) -> None:
  """Trains the run that `config` describes, or goes on with it where its folder stands.

  Args:
    config: see configs/default.py.
    workdir: the run's folder; created once config and data have proved usable.
    resume_from: begin a new folder at this checkpoint of another one, with its optimizer state
      and step; the config may differ from that run's in all but the shapes of the weights.

  Raises:
    InputError: the config, the data or the folder cannot be used.
    NonFiniteError: the loss or its gradient is not finite; the last good checkpoint stays.
  """
  config_lib.check(config)
  run_folder.check_usable(workdir, config)
  source = None
  if resume_from is not None:
    source = run_folder.locate(resume_from)
    if run_folder.holds_run(workdir):
      raise run_folder.OccupiedError(
        f'{workdir} holds a run already: to go on with that, leave out --resume_from.', workdir
      )
    _check_same_shapes(source.run, config)
  program = build(config)
  current, window = program.initial_state(), {}
  if source is not None:
    current, window, _ = checkpoints.restore_elsewhere(source.run, source.step, current)
    _check_steps_left(program, int(current.step))

  workdir.mkdir(parents=True, exist_ok=True)
  config_lib.save(workdir, config, program.class_names)
  reporter = Reporter(workdir / 'train.log', config.num_epochs, program.steps_per_epoch)
  saved = Checkpoints(workdir, config.keep_checkpoints)
  try:
    if source is not None:
      # The new folder stands alone from here on: killed at once, it resumes from this step.
      saved.save(current, int(current.step), window, validation=None)
    elif saved.latest_step is not None:
      current, window = saved.restore(saved.latest_step, current)
    _run(program, workdir, current, window, saved, reporter)
  finally:
    saved.close()
    reporter.close()


def _check_steps_left(program: Program, start: int) -> None:
  total = program.config.num_epochs * program.steps_per_epoch
  if start >= total:
    raise InputError(
      f'The checkpoint is from step {start}, and the run would end at step {total}. '
      f'Raise --config.num_epochs above {start // program.steps_per_epoch}.'
    )


def _run(
  program: Program,
  workdir: Path,
  current: state.TrainState,
  window: dict[str, np.ndarray],
  saved: Checkpoints,
  reporter: Reporter,
) -> None:
  config, steps_per_epoch = program.config, program.steps_per_epoch
  total = config.num_epochs * steps_per_epoch
  now = int(current.step)
  if now >= total:
    reporter.line(f'{workdir} is complete: {config.num_epochs} epochs, step {now}.')
    return
  writers.forget_after(workdir, now)
  _introduce(program, current, workdir, reporter)
  log = Writers(workdir)
  if not log.has_tensorboard:
    reporter.line('TensorFlow is not installed: no TensorBoard logs; metrics.csv has the numbers.')
  if now == 0:
    log.write_hparams(dict(config_lib.fields(config)))
  profiler = make_profiler(config.profile, workdir, reporter.line)
  validation_key = keys.stream(config.seed, 'validation')
  fixed = _fixed_pictures(program)
  order, order_epoch = None, None
  pending = [window] if window else []  # terms that no line of the log holds yet
  began = epoch_began = time.perf_counter()
  clock = _Clock(config.batch_size)
  reporter.start(now)
  try:
    while now < total:
      epoch = now // steps_per_epoch
      if order_epoch != epoch:
        order, order_epoch = program.order(epoch), epoch
      end = next_chunk_end(now, steps_per_epoch, config.checkpoint_every_steps)
      current, terms = program.chunk(current, *program.train, order, num_steps=end - now)
      pending.append(terms)
      clock.steps += end - now
      ends_epoch = end % steps_per_epoch == 0
      saves = bool(config.checkpoint_every_steps) and end % config.checkpoint_every_steps == 0
      logs = ends_epoch or end // config.log_every_steps > now // config.log_every_steps
      now = end
      reporter.advance(now)
      if profiler:
        profiler(now, terms)
      if not (logs or saves):
        continue

      # From here to the end of the body the host waits for the device.
      window = _concatenate(jax.device_get(pending))
      _check_finite(window, now, saved.latest_step)
      images_per_second = clock.read()
      rows, window = _log_rows(window, now, config.log_every_steps, ends_epoch)
      pending = [window] if window else []
      validation = None
      if ends_epoch and ((epoch + 1) % config.eval_every_epochs == 0 or now == total):
        variables = current.eval_variables
        validation = program.evaluate(variables, *program.validation, validation_key)
        _check_finite({name: [value] for name, value in validation.items()}, now, saved.latest_step)
      for row_step, row in rows:
        scalars = {f'train/{name}': value for name, value in row.items()}
        scalars |= {
          'epoch': row_step / steps_per_epoch,
          'images_per_second': images_per_second,
          'seconds': time.perf_counter() - began,
        }
        reporter.terms(row_step, row, images_per_second)
        if validation and row_step == now:
          scalars |= {f'validation/{name}': value for name, value in validation.items()}
          if config.likelihood == 'bernoulli' and config.data.binarize == 'dynamic':
            scalars['validation/bits_per_dim'] = bits_per_dimension(
              validation['negative_elbo'], program.train.images.shape[1:]
            )
        log.write_scalars(row_step, scalars)
      if validation:
        reporter.line(
          f'epoch {epoch + 1:3d}/{config.num_epochs}  validation −ELBO '
          f'{validation["negative_elbo"]:.2f} = {validation["reconstruction"]:.2f} '
          f'+ KL {validation["kl"]:.2f}  {time.perf_counter() - epoch_began:.1f} s'
        )
        log.write_pictures(now, fixed(current.eval_variables))
      if ends_epoch:
        epoch_began = time.perf_counter()
        saves |= (epoch + 1) % config.checkpoint_every_epochs == 0 or now == total
        saves |= validation is not None and validation['negative_elbo'] < saved.best_value
      if saves:
        saved.save(current, now, window, validation)
      clock.restart()
  finally:
    if profiler:
      profiler.close()
    log.close()
  saved.wait()
  path = workdir / 'samples' / f'step_{now}.png'
  figures.save_png(path, _sample_grid(program, current.eval_variables))
  reporter.line(f'samples, a row for each class: {path}')


class _Clock:
  """Images per second of training, without the time that logging and validation take."""

  def __init__(self, batch_size: int):
    self._batch_size = batch_size
    self.restart()

  def restart(self) -> None:
    self.steps, self._since = 0, time.perf_counter()

  def read(self) -> float:
    return self.steps * self._batch_size / (time.perf_counter() - self._since)


def next_chunk_end(now: int, steps_per_epoch: int, checkpoint_every_steps: int) -> int:
  """Where the chunk that begins at step `now` ends.

  Chunks end at fixed steps of the run, wherever it was resumed: whole dispatches counted from the
  epoch's start, the epoch's end, and each step that a checkpoint is due at. Two programs of other
  lengths differ in the last bits, so a resumed run must go through the same ones.
  """
  epoch_start = now // steps_per_epoch * steps_per_epoch
  length = devices.chunk_steps()
  ends = [
    epoch_start + steps_per_epoch,
    epoch_start + ((now - epoch_start) // length + 1) * length,
  ]
  if checkpoint_every_steps:
    ends.append((now // checkpoint_every_steps + 1) * checkpoint_every_steps)
  return min(ends)


def _introduce(program: Program, current, workdir: Path, reporter: Reporter) -> None:
  config = program.config
  params = current.variables['params']
  now = int(current.step)
  reporter.line(
    f'{config.name}: {parameter_overview.count_parameters(params):,} parameters, '
    f'{len(program.train.labels):,} training and {len(program.validation.labels):,} validation '
    f'images of {config.data.name}, {program.steps_per_epoch} steps an epoch on '
    f'{program.mesh.size} {jax.default_backend()} device(s), in {workdir}'
  )
  if now:
    reporter.line(f'resuming at step {now} (epoch {now / program.steps_per_epoch:.2f})')
  reporter.note('\n' + parameter_overview.get_parameter_overview(params))


def _concatenate(pending: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  return {name: np.concatenate([terms[name] for terms in pending]) for name in step.TERMS}


def _log_rows(window, now: int, log_every_steps: int, flush: bool):
  """Averages the window's terms up to each step at which a line is due.

  Args:
    window: [n] terms of the last n steps before `now`, of one epoch.
    now: steps taken.
    log_every_steps: a line is due at multiples of this.
    flush: whether a line is due at `now` in any case.

  Returns:
    A list of (step, averages), and the rest of the window, {} where nothing is left.
  """
  count = len(window['loss'])
  first = now - count
  ends = [end for end in range(first + 1, now + 1) if end % log_every_steps == 0]
  if flush and ends[-1:] != [now]:
    ends.append(now)
  rows, begin = [], first
  for end in ends:
    part = {name: jnp.asarray(values[begin - first : end - first]) for name, values in window.items()}
    averages = TrainMetrics.single_from_model_output(**part).compute()
    rows.append((end, {name: float(value) for name, value in averages.items()}))
    begin = end
  if begin == now:
    return rows, {}
  return rows, {name: values[begin - first :] for name, values in window.items()}


def _check_finite(terms, now: int, last_checkpoint: int | None) -> None:
  """Raises NonFiniteError naming the first step at which a term is no finite number."""
  table = np.array(list(terms.values()))
  bad = ~np.isfinite(table).all(axis=0)
  if not bad.any():
    return
  first = int(np.argmax(bad))
  shown = ', '.join(f'{name} {values[first]:.4g}' for name, values in terms.items())
  kept = f'checkpoint {last_checkpoint} is the last good one' if last_checkpoint else 'no checkpoint yet'
  raise NonFiniteError(
    f'Step {now - table.shape[1] + first} gave a number that is not finite ({shown}); {kept}. '
    'Try a lower --config.learning_rate, a smaller --config.clip_norm, a longer '
    '--config.beta_warmup_epochs, or --config.precision=float32.'
  )


def _sample_grid(program: Program, variables) -> np.ndarray:
  """A row of samples for each class, of the same latents at every step of the run."""
  labels = generation.labels_by_row(program.config.data.num_classes, GRID_COLUMNS)
  latents = generation.prior_latents(
    keys.stream(program.config.seed, 'samples'),
    jnp.arange(len(labels)),
    program.config.latent_dim,
    1.0,
  )
  return figures.grid(jax.device_get(program.decode(variables, latents, labels)), GRID_COLUMNS)


def _fixed_pictures(program: Program) -> Callable[[dict], dict[str, np.ndarray]]:
  """The pictures that TensorBoard shows at each validation, of the same images and latents."""
  count = min(4 * GRID_COLUMNS, len(program.validation.labels) // GRID_COLUMNS * GRID_COLUMNS)
  labels = program.validation.labels[:count]
  images = program.validation.images[:count].astype(jnp.float32) / 255

  def pictures(variables):
    shown = {'samples': _sample_grid(program, variables)}
    if count:
      mean, _ = program.encode(variables, images, labels)
      reconstructions = program.decode(variables, mean, labels)
      both = jax.device_get((images, reconstructions))
      shown['reconstructions'] = figures.pairs(*both, GRID_COLUMNS)
    return shown

  return pictures
