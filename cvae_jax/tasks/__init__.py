"""Kinds of models: their losses, terms and artifacts, one module each."""

from cvae_jax.tasks import dae, vae  # noqa: F401 (they register themselves)
from cvae_jax.tasks.task import TASKS, Task, build

__all__ = ['TASKS', 'Task', 'build']
