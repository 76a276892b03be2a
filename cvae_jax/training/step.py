"""One step of training: the gradient of a task's loss, and the update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from cvae_jax.tasks import Task
from cvae_jax.tasks.task import Batch, Terms
from cvae_jax.training.state import (
  Hyperparameters,
  TrainState,
  build_optimizer,
  learning_rate_schedule,
  update_ema,
)

# (state, a chunk's data, hyperparameters) -> (state, terms): a pure function.
Step = Callable[[TrainState, Any, Hyperparameters], tuple[TrainState, Terms]]


def term_names(task: Task) -> tuple[str, ...]:
  """What a step reports, in order."""
  return 'loss', *task.terms, 'gradient_norm', 'learning_rate'


def is_usable(terms: Terms, max_gradient_norm: float, xp=jnp) -> Array:
  """Whether the numbers of steps are finite and their gradients not too long, bool.

  Args:
    terms: numbers of any one shape.
    max_gradient_norm: what a gradient's norm may be; 0 is no limit.
    xp: what to compute with: jax.numpy or, on the host, numpy.
  """
  usable = xp.isfinite(xp.stack(list(terms.values()))).all(axis=0)
  return usable & (terms['gradient_norm'] <= max_gradient_norm) if max_gradient_norm else usable


def make_step(
  config, task: Task, steps_per_epoch: int, pick: Callable[[Any, Array], Batch]
) -> Step:
  """One step of the run that `config` describes.

  With on_nonfinite='skip' a step that is not usable changes nothing but the counts of steps, on
  which the schedules depend.

  Args:
    config: a checked config.
    task: gives the loss.
    steps_per_epoch: steps in one epoch.
    pick: (a chunk's data, step) -> its batch, see `feed.Feed`.
  """

  def step(state, data, hyper):
    learning_rate = learning_rate_schedule(config, hyper.learning_rate, steps_per_epoch)
    optimizer = build_optimizer(config.optimizer, learning_rate, hyper)
    key = jax.random.fold_in(hyper.noise_key, state.step)
    batch = pick(data, state.step)
    params = state.variables['params']

    def loss(params):
      return task.loss(state.variables | {'params': params}, batch, hyper.task, key, state.step)

    (value, (terms, updated)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, opt_state = optimizer.update(gradient, state.opt_state, params)
    variables = {'params': optax.apply_updates(params, updates), **updated}
    ema = state.ema
    if ema is not None:
      ema = update_ema(ema, variables, config.ema_decay, state.step)
    terms = {
      'loss': value,
      **terms,
      'gradient_norm': optax.tree.norm(gradient),  # before the clip
      'learning_rate': jnp.asarray(learning_rate(state.step), jnp.float32),
    }
    after = TrainState(state.step + 1, variables, ema, opt_state)
    if config.on_nonfinite == 'skip':
      usable = is_usable(terms, config.max_gradient_norm)
      after = jax.tree.map(
        lambda new, old: new if jnp.issubdtype(new, jnp.integer) else jnp.where(usable, new, old),
        after,
        state,
      )
    return after, terms

  return step


def make_chunk(step: Step) -> Callable[..., tuple[TrainState, Terms]]:
  """Many steps in one function, to be compiled.

  Args:
    step: of one run, or of several at once.

  Returns:
    chunk(state, data, hyper, num_steps): the state n steps on, and the terms of each step, [n].
    A chunk does not cross the end of an epoch.
  """

  def chunk(state, data, hyper, num_steps):
    if num_steps == 1:  # no loop: see devices.chunk_steps
      state, terms = step(state, data, hyper)
      return state, jax.tree.map(lambda term: term[None], terms)
    return jax.lax.scan(lambda state, _: step(state, data, hyper), state, length=num_steps)

  return chunk


def compile_chunk(step: Step, sharding, compiler_options) -> Callable[..., Any]:
  """Compiles `make_chunk` of a step; the state that it is given is donated."""
  return jax.jit(
    make_chunk(step),
    donate_argnums=0,
    static_argnames='num_steps',
    out_shardings=sharding,
    compiler_options=dict(compiler_options),
  )
