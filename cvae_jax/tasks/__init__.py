"""Kinds of models: their losses, terms and artifacts, one module each."""

from cvae_jax.tasks.task import TASKS, Task, build, is_second_stage

__all__ = ['TASKS', 'Task', 'build', 'is_second_stage']
