"""What is learned: one module per kind of model."""

from cvae_jax.tasks import dae, vae  # noqa: F401 (they register themselves)
from cvae_jax.tasks.task import TASKS, Task, build

__all__ = ['TASKS', 'Task', 'build']
