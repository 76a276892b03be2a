"""Fixtures: one trained run for all who only read it, and real data where there is some."""

import os
from pathlib import Path

import jax
import jaxtyping
import pytest

# Before the package is imported: these rooms check the annotations of their functions.
CHECKED_ROOMS = ('cvae_jax.models', 'cvae_jax.tasks', 'cvae_jax.evaluation')
jaxtyping.install_import_hook(CHECKED_ROOMS, 'annotations.check')

from cvae_jax.training import loop  # noqa: E402
from tiny import flow_config, tiny_config  # noqa: E402

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get('CVAE_DATA_DIR') or ROOT.parent / 'shared' / 'data')

# Commands run by the tests are processes of their own: they find the same compiled programs.
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(ROOT / '.cache' / 'jax'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
jax.config.update('jax_compilation_cache_dir', os.environ['JAX_COMPILATION_CACHE_DIR'])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.config.update('jax_numpy_rank_promotion', 'raise')

QUICK_TO_COMPILE = '--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1'
skipped_with_data = []


def pytest_configure(config):
  """Where small models are compiled more than they are run, XLA may leave its best work undone."""
  if config.option.markexpr == 'not slow and not faults':
    os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'  # of the commands
    jax.config.update('jax_disable_most_optimizations', True)
    if jax.__version_info__ < (0, 11):  # XLA ends a process that gives it flags it no longer has
      # Read when the first program is compiled: without fusion emitters, half the time.
      os.environ.setdefault('XLA_FLAGS', QUICK_TO_COMPILE)


@pytest.fixture(scope='session')
def tiny_run(tmp_path_factory):
  """The folder of a trained tiny run, with a checkpoint every 2 steps. Read only: copy it."""
  workdir = tmp_path_factory.mktemp('runs') / 'tiny'
  loop.train(tiny_config(checkpoint_every_steps=2, keep_checkpoints=10), workdir)
  return workdir


@pytest.fixture(scope='session')
def flow_run(tmp_path_factory):
  """The folder of a tiny second stage of classes, on an unconditional first one. Read only."""
  folder = tmp_path_factory.mktemp('runs')
  # Long enough that latents and classes have an effect.
  longer = {'num_epochs': 60, 'eval_every_epochs': 30, 'checkpoint_every_epochs': 30}
  first = {'objective': 'autoencoder', 'beta': 1e-4, 'conditional': False, 'learning_rate': 0.01}
  loop.train(tiny_config(**first, **longer), folder / 'first')
  loop.train(flow_config(folder / 'first', condition_dropout=0.2, **longer), folder / 'flow')
  return folder / 'flow'


@pytest.fixture(scope='session')
def told_flow_run(tiny_run, tmp_path_factory):
  """The folder of a tiny second stage that always knew the class, as its first stage did."""
  workdir = tmp_path_factory.mktemp('runs') / 'told'
  loop.train(flow_config(tiny_run, num_epochs=1), workdir)
  return workdir


@pytest.fixture(scope='session')
def measured_run(tmp_path_factory):
  """The folder of a tiny run on digits, their slant and thickness. Read only: copy it."""
  workdir = tmp_path_factory.mktemp('runs') / 'measured'
  loop.train(tiny_config(data__conditions='digit,slant,thickness', num_epochs=1), workdir)
  return workdir


@pytest.fixture
def real_data(request):
  """The folder of the real set that the test's marker names; skips where there is none."""
  name = request.node.get_closest_marker('data').args[0]
  if not (DATA / name).is_dir():
    pytest.skip(f'no real data at {DATA / name}: set CVAE_DATA_DIR')
  return DATA / name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
  report = yield
  marker = item.get_closest_marker('data')
  if report.skipped and marker and (DATA / marker.args[0]).is_dir():
    # A property of the report, which reaches the process that collects those of all workers.
    report.user_properties.append(('skipped with data', item.nodeid))
  return report


def pytest_runtest_logreport(report):
  for name, nodeid in report.user_properties:
    if name == 'skipped with data' and report.skipped:
      skipped_with_data.append(nodeid)


def pytest_sessionfinish(session):
  # A test that skips although its data are there would hide what it tests.
  if skipped_with_data and session.exitstatus == 0:
    session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
  for nodeid in skipped_with_data:
    terminalreporter.write_line(f'FAILED: {nodeid} skipped although its data are there', red=True)
