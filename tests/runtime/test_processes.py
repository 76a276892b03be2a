"""Processes: what is refused before they meet, and that one alone waits for nobody."""

import socket

import pytest

from cvae_jax.runtime import processes
from cvae_jax.runtime.errors import InputError


def refused(message, *arguments):
  with pytest.raises(InputError, match=message), processes.joined(*arguments):
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
def test_what_only_several_processes_need_is_refused_for_one(given, named):
  refused(f'^{named} .*give it together with --distributed', False, *given)


def test_one_process_takes_no_notice_of_the_environment_of_several(monkeypatch):
  monkeypatch.setenv('JAX_PROCESS_ID', 'x')
  with processes.joined(False, None, None, None):
    pass


@pytest.mark.parametrize(
  'address',
  ['', ':1234', 'host', 'host:', 'host:name', 'host:0', 'host:65536', 'host:-1', 'http://host:1'],
)
def test_an_address_without_host_and_port_is_refused(address):
  refused('is not HOST:PORT, e.g. 10.0.0.1:1234', True, address, 2, 1)


def test_a_number_that_is_none_of_the_processes_is_refused():
  refused('process_id=2 is not one of 2 processes: expected 0 to 1', True, 'h:1', 2, 2)


def test_a_port_in_use_is_refused():
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
    refused('cannot listen at .*in use.*another port', True, f'127.0.0.1:{port}', 2, 0)


@pytest.mark.parametrize(
  ('variables', 'message'),
  [
    ({'JAX_NUM_PROCESSES': 'two'}, "JAX_NUM_PROCESSES='two' is not an integer"),
    ({'JAX_NUM_PROCESSES': '2', 'JAX_PROCESS_ID': '3'}, 'process_id=3 is not one of 2'),
    ({'JAX_COORDINATOR_ADDRESS': 'nowhere'}, "'nowhere' is not HOST:PORT"),
  ],
)
def test_the_environment_is_read_too(monkeypatch, variables, message):
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  refused(message, True, None, None, None)


def test_flags_count_before_the_environment(monkeypatch):
  monkeypatch.setenv('JAX_NUM_PROCESSES', '5')
  refused('process_id=2 is not one of 2 processes', True, None, 2, 2)


def test_one_process_is_all_of_them():
  assert processes.is_main()
  assert processes.gather(3) == [3]
  assert processes.from_main('a') == 'a'
  processes.check_same({'x': 1})
  assert processes.main_first(lambda: 'loaded') == 'loaded'
  error = KeyError('as it is')
  with pytest.raises(KeyError) as raised, processes.together():
    raise error
  assert raised.value is error


@pytest.fixture
def beside(monkeypatch):
  """beside(value, ...): from now on, other processes bring these values to each gathering."""

  def begin(*others):
    monkeypatch.setattr(processes.jax, 'process_count', lambda: 1 + len(others))
    monkeypatch.setattr(processes, 'gather', lambda value: [value, *others])

  return begin


def test_a_difference_is_named_with_both_values(beside):
  beside({'--config.beta': 1.0, '--smoke': True}, {'--config.beta': 4.0, '--smoke': True})
  message = r'--config.beta is 1.0 in process 0, 4.0 in process 2: start all'
  with pytest.raises(InputError, match=message):
    processes.check_same({'--config.beta': 1.0, '--smoke': True})
  with pytest.raises(InputError, match='--smoke is False in process 0, True in process 1'):
    processes.check_same({'--config.beta': 1.0, '--smoke': False})


def test_the_failure_of_another_process_is_told_and_ones_own_is_raised(beside):
  beside(None, 'the disk is full')
  with (
    pytest.raises(InputError, match=r'^Process 2 stopped: the disk is full$'),
    processes.together(),
  ):
    pass
  with pytest.raises(KeyError, match='mine'), processes.together():
    raise KeyError('mine')
