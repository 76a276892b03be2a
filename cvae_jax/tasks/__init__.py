"""Kinds of models: their losses, terms and artifacts, one module each."""

from cvae_jax.tasks.task import TASKS, Task, build

__all__ = ['TASKS', 'Task', 'build']
