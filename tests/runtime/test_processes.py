"""Processes: arguments refused before they connect, and exchanges of values."""

import re
import socket

import pytest

from cvae_jax.runtime import processes
from cvae_jax.runtime.errors import InputError


def refused(named, *arguments):
  with pytest.raises(InputError, match=named), processes.joined(*arguments):
    raise AssertionError('entered')


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
  for name in processes.ENVIRONMENT.values():
    monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
  ('given', 'named'),
  [
    (('h:1', None, None), '--coordinator_address'),
    ((None, 2, None), '--num_processes'),
    ((None, None, 0), '--process_id'),
  ],
)
def test_flags_of_several_processes_are_refused_for_one(given, named):
  refused(f'{named} .*--distributed', False, *given)


def test_one_process_ignores_the_variables_of_several(monkeypatch):
  monkeypatch.setenv('JAX_PROCESS_ID', 'x')
  with processes.joined(False, None, None, None):
    assert processes.is_main()


@pytest.mark.parametrize(
  'address',
  ['', ':1234', 'host', 'host:', 'host:name', 'host:0', 'host:65536', 'host:-1', 'http://host:1'],
)
def test_an_address_without_host_and_port_is_refused(address):
  refused(f'coordinator_address={re.escape(repr(address))}.*HOST:PORT', True, address, 2, 1)


def test_a_process_id_beyond_the_last_is_refused():
  refused('process_id=2 .*0 to 1', True, 'h:1', 2, 2)


def test_a_port_in_use_is_refused():
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
    refused(f'127.0.0.1:{port} .*in use', True, f'127.0.0.1:{port}', 2, 0)


@pytest.mark.parametrize(
  ('variables', 'named'),
  [
    ({'JAX_NUM_PROCESSES': 'two'}, "JAX_NUM_PROCESSES='two'"),
    ({'JAX_NUM_PROCESSES': '2', 'JAX_PROCESS_ID': '3'}, 'process_id=3'),
    ({'JAX_COORDINATOR_ADDRESS': 'nowhere'}, "coordinator_address='nowhere'"),
  ],
)
def test_the_environment_is_read_too(monkeypatch, variables, named):
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  refused(named, True, None, None, None)


def test_flags_precede_the_environment(monkeypatch):
  monkeypatch.setenv('JAX_NUM_PROCESSES', '5')
  refused('process_id=2 .*0 to 1', True, None, 2, 2)


def test_one_process_is_all_of_them():
  assert processes.is_main()
  assert processes.gather(3) == [3]
  assert processes.from_main('a') == 'a'
  processes.check_same({'x': 1})
  assert processes.main_first(lambda: 'loaded') == 'loaded'
  error = KeyError('x')
  with pytest.raises(KeyError) as raised, processes.together():
    raise error
  assert raised.value is error


@pytest.fixture
def beside(monkeypatch):
  """beside(value, ...) simulates other processes, which give these values to each `gather`."""

  def begin(*others):
    monkeypatch.setattr(processes.jax, 'process_count', lambda: 1 + len(others))
    monkeypatch.setattr(processes, 'gather', lambda value: [value, *others])

  return begin


def test_a_difference_is_named_with_both_values(beside):
  beside({'--config.beta': 1.0, '--smoke': True}, {'--config.beta': 4.0, '--smoke': True})
  named = r'--config.beta .*1\.0 in process 0, 4\.0 in process 2'
  with pytest.raises(InputError, match=named):
    processes.check_same({'--config.beta': 1.0, '--smoke': True})
  with pytest.raises(InputError, match=r'--smoke .*False in process 0, True in process 1'):
    processes.check_same({'--config.beta': 1.0, '--smoke': False})


def test_the_error_of_another_process_is_reported_and_ones_own_is_raised(beside):
  beside(None, 'the disk is full')
  with (
    pytest.raises(InputError, match=r'Process 2 .*the disk is full'),
    processes.together(),
  ):
    pass
  with pytest.raises(KeyError, match='mine'), processes.together():
    raise KeyError('mine')
