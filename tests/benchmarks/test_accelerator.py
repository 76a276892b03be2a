"""What is measured next on an accelerator, what is kept of it, and the rehearsal of it all."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from benchmarks import throughput
from benchmarks.accelerator import __main__ as accelerator
from benchmarks.accelerator import archive, contenders, pieces, plan, report, self_check
from benchmarks.accelerator.plan import Piece
from conftest import ROOT
from cvae_jax.runtime.errors import InputError
from long_run import wait_until

NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))


def piece(name, seconds=10.0, code='pass', output=None, **fields):
  """A piece whose process runs `code`, and writes its result to `output` if that is given."""

  def read():
    return json.loads(output.read_text())

  return Piece(name, seconds, lambda limit: ['-c', code], read, **fields)


def failed(record=None):
  return plan.after(record or {}, 5.0, None, 'ValueError: no')


def names_chosen(listed, records, seconds_left):
  """The names of pieces as they are chosen one after the other, if each succeeds."""
  names, records = [], dict(records)
  while (one := plan.choose(listed, records, seconds_left)) is not None:
    names.append(one.name)
    records[one.name] = plan.after(records.get(one.name, {}), 1.0, {}, '')
  return names


def test_pieces_come_in_order_if_they_fit():
  listed = [piece('a', 10), piece('b', 100), piece('c', 20)]
  assert names_chosen(listed, {}, seconds_left=50) == ['a', 'c']
  assert names_chosen(listed, {}, seconds_left=100) == ['a', 'b', 'c']
  assert names_chosen(listed, {}, seconds_left=5) == []


def test_what_is_done_is_not_done_again():
  done = plan.after({}, 1.0, {'x': 1}, '')
  assert names_chosen([piece('a'), piece('b')], {'a': done}, 50) == ['b']


def test_a_failed_piece_is_tried_again_after_all_others():
  once = failed()
  assert (once['status'], once['error']) == (plan.FAILED, 'ValueError: no')
  assert names_chosen([piece('a'), piece('b')], {'a': once}, 50) == ['b', 'a']
  records = {'a': failed(failed(once)), 'b': once}
  assert names_chosen([piece('a'), piece('b'), piece('c')], records, 50) == ['c', 'b', 'a']


def test_a_piece_that_lacks_something_keeps_its_place():
  waiting = plan.after({}, 2.0, None, 'no data', plan.WAITING)
  assert (waiting['status'], waiting['error'], waiting['failures']) == ('waiting', 'no data', 0)
  assert names_chosen([piece('a'), piece('b')], {'a': waiting}, 50) == ['a', 'b']


def test_a_piece_that_the_end_cut_off_waits_for_more_time():
  cut_off = plan.after({}, 30.0, None, 'ended', plan.UNFINISHED)
  assert cut_off['failures'] == 0
  assert plan.choose([piece('a', 10)], {'a': cut_off}, 35) is None
  assert plan.choose([piece('a', 10)], {'a': cut_off}, 45).name == 'a'


def test_a_training_goes_on_until_it_is_finished():
  training = piece('t', 1000.0, is_resumable=True)
  assert plan.choose([training], {}, 50) is None
  assert plan.choose([training], {}, 70) == training
  record = plan.after({}, 40.0, {'finished': False, 'step': 10}, '')
  assert record['status'] == plan.UNFINISHED
  assert plan.choose([training], {'t': record}, 70) == training
  stuck = plan.after(record, 40.0, {'finished': False, 'step': 10}, 'it hangs')
  assert (stuck['status'], stuck['failures']) == (plan.FAILED, 1)
  record = plan.after(record, 40.0, {'finished': True, 'step': 20}, '')
  assert (record['status'], record['seconds']) == (plan.DONE, 80.0)


def test_a_hanging_piece_is_ended_long_before_the_call_is():
  assert 10 < plan.seconds_allowed(piece('a', 100), {}, 1000) < 1000
  assert plan.seconds_allowed(piece('a', 100), {}, 150) == 150
  assert plan.seconds_allowed(piece('a', 100, is_resumable=True), {}, 1000) == 1000


def new_session(tmp_path, listed, sizes=pieces.REHEARSAL):
  out = tmp_path / 'out'
  out.mkdir(exist_ok=True, parents=True)
  return accelerator.Session(out, tmp_path / 'work', listed, sizes)


def test_each_piece_is_written_at_once_and_a_crash_costs_only_itself(tmp_path):
  output = tmp_path / 'good.json'
  listed = [
    piece('bad', code='print(1); raise ValueError("why | so")'),
    piece('slow', code='import time; time.sleep(60)', output=tmp_path / 'none'),
    piece('good', code=f'open({str(output)!r}, "w").write(\'{{"x": 3}}\')', output=output),
  ]
  listed[0] = listed[0]._replace(read=lambda: json.loads((tmp_path / 'none').read_text()))
  session = new_session(tmp_path, listed)
  began = time.monotonic()
  for one, seconds in zip(listed, (20, 0.2, 20), strict=True):
    session.run(one, seconds)
  assert time.monotonic() - began < 15
  content = json.loads((tmp_path / 'out' / 'results.json').read_text())
  assert content['pieces']['bad']['error'] == 'ValueError: why | so'
  assert content['pieces']['slow']['status'] == plan.UNFINISHED
  assert content['pieces']['good']['result'] == {'x': 3}
  later = new_session(tmp_path, listed)
  assert later.next(100.0).name == 'slow'
  assert [later.records[one.name]['status'] for one in listed] == ['failed', 'unfinished', 'done']
  text = (tmp_path / 'out' / 'report.md').read_text()
  assert '1 of 3 pieces are done' in text
  assert r'why \| so' in text
  content['device'] = 'gpu'
  (tmp_path / 'out' / 'results.json').write_text(json.dumps(content))
  with pytest.raises(InputError, match='holds results of a gpu'):
    new_session(tmp_path, listed)


DAMAGED = ['', '{', '[]', '{}', 'null', '{"device": "cpu", "pieces": 3}']
RECORDS = ['3', '{}', '{"status": "done", "seconds": 1, "machine": 3}']
DAMAGED += [f'{{"device": "cpu", "pieces": {{"a": {record}}}}}' for record in RECORDS]


@pytest.mark.parametrize('content', DAMAGED)
def test_damaged_results_are_named(tmp_path, content):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'results.json').write_text(content)
  with pytest.raises(InputError, match=r'results\.json cannot be read .* delete it'):
    new_session(tmp_path, [piece('a')])
  assert (tmp_path / 'out' / 'results.json').read_text() == content


def nvidia_smi(folder, printed):
  script = folder / 'nvidia-smi'
  script.write_text(f"#!/bin/sh\nprintf '{printed}'")
  script.chmod(0o755)


def test_the_peak_of_the_memory_is_read_while_a_piece_runs(tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
  listed = [piece('a', output=tmp_path / 'none')]
  for number, (printed, peak) in enumerate((('1234', 1234), ('[N/A]', None), ('[N/A]\\n77', 77))):
    nvidia_smi(tmp_path, printed)
    session = new_session(tmp_path / str(number), listed, pieces.ACCELERATOR)
    session.run(listed[0], 20)
    assert session.records['a']['peak_mib'] == peak


def test_each_call_tries_once_what_failed_or_waits(tmp_path):
  listed = [
    piece('no data', code='print("no mnist/"); raise SystemExit(2)', output=tmp_path / 'none'),
    piece('broken', code='raise SystemExit(1)', output=tmp_path / 'none'),
  ]
  for _ in range(3):
    session = new_session(tmp_path, listed)
    while one := session.next(20.0):
      session.run(one, 20.0)
    assert session.tried == ['no data', 'broken']
  waiting, broken = session.records.values()
  assert (waiting['status'], waiting['failures'], waiting['error']) == ('waiting', 0, 'no mnist/')
  assert broken['failures'] == 3
  assert session.summary() == '0 of 2 pieces are done, 1 waiting, 1 failed.'


FINISHED = {
  'finished': True,
  'step': 5,
  'best_step': 5,
  'epoch': 1,
  'seconds': 1.0,
  'images_per_second': 1.0,
  'terms': {},
}


def test_each_call_packs_the_runs_that_it_finishes_into_an_archive_of_its_own(tmp_path):
  listed = []
  for name in ('one', 'two', 'three'):
    folder = tmp_path / 'work' / 'runs' / name
    folder.mkdir(parents=True)
    (folder / 'weights').write_text(f'of {name}')
    training = piece(f'train_{name}', is_resumable=True)
    listed.append(training._replace(read=lambda: FINISHED))
  for call, ended in (('first', listed[:2]), ('second', listed[2:])):
    session = new_session(tmp_path, listed)
    session._finished = f'finished-{call}'  # by the second
    for one in ended:
      session.run(one, 20)
    if call == 'first':
      archive.unpack(archive.read(tmp_path / 'out', 'finished-first'), tmp_path / 'first')
      (path,) = archive.parts(tmp_path / 'out', 'finished-first')
      path.write_bytes(path.read_bytes()[:50])  # damaged: no matter to the next call
  archive.unpack(archive.read(tmp_path / 'out', 'finished-second'), tmp_path / 'second')
  texts = [(path.parent.name, path.read_text()) for path in sorted(tmp_path.glob('*/*/weights'))]
  assert texts == [('one', 'of one'), ('two', 'of two'), ('three', 'of three')]


TRAINING = """
import os, signal, sys, tempfile, time
from pathlib import Path

def stop(*_):
  Path(sys.argv[1]).mkdir(parents=True)
  Path(sys.argv[1], 'weights').write_text('saved')
  sys.exit(143)

signal.signal(signal.SIGTERM, stop)
tempfile.mkdtemp()
Path(sys.argv[2]).write_text(str(os.getpid()))
time.sleep(60)
"""
CALL = """
import signal, sys
from benchmarks import program
from benchmarks.accelerator import __main__ as accelerator, pieces
from benchmarks.accelerator.plan import Piece

began, training = sys.argv.pop(), sys.argv.pop()
signal.signal(int(sys.argv.pop()), signal.SIG_DFL)  # where pytest ignores it, with nohup

def build(sizes, data_dir, work, configs):
  run = work / 'runs' / 'long'
  def read():
    (run / 'weights').read_text()
    return dict(finished=False, step=3, best_step=None, epoch=1, seconds=1.0,
                images_per_second=1.0, terms={})
  command = ['-c', training, str(run), began]
  environment = pieces._environment(sizes, work)
  return [Piece('train_long', 5.0, lambda limit: command, read, environment, is_resumable=True)]

pieces.build = build
program.run(accelerator.main)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_the_running_piece_has_reached(tmp_path, number):
  out, temporary, began = tmp_path / 'out', tmp_path / 'temporary', tmp_path / 'began'
  temporary.mkdir()
  process = subprocess.Popen(
    [
      sys.executable,
      '-c',
      CALL,
      '--rehearse',
      f'--out={out}',
      str(int(number)),
      TRAINING,
      str(began),
    ],
    cwd=ROOT,
    env=os.environ | {'TMPDIR': str(temporary)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  wait_until(lambda: began.is_file() and began.read_text(), process)
  process.send_signal(number)
  _, errors = process.communicate(timeout=20)
  assert (process.returncode, errors.count('\n')) == (128 + number, 1), errors
  assert 'ended by ' in errors
  record = json.loads((out / 'results.json').read_text())['pieces']['train_long']
  assert (record['status'], record['result']['step']) == (plan.UNFINISHED, 3)
  assert record['seconds'] > 0
  archive.unpack(archive.read(out, 'unfinished'), tmp_path / 'there')
  assert (tmp_path / 'there' / 'long' / 'weights').read_text() == 'saved'
  assert list(temporary.iterdir()) == []
  with pytest.raises(ProcessLookupError):
    os.kill(int(began.read_text()), 0)


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--out='], 'it is empty'),
    (['--out=FILE'], 'FILE: Not a directory'),
    (['--out=FILE/x'], 'FILE/x: Not a directory'),
    (['--out=/proc/x'], '/proc/x'),
    (['--out=out', '--data_dir=gone'], '--data_dir gone is no folder'),
    (['--out=out', '--minutes=0.5'], 'expected 1 to 1440'),
    ([], '--out is missing'),
  ],
)
def test_a_bad_flag_gets_one_line_even_without_a_gpu(refused, tmp_path, flags, words):
  (tmp_path / 'FILE').touch()
  line = refused('-m', 'benchmarks.accelerator', *flags)
  assert line.startswith('python -m benchmarks.accelerator: ')
  assert words in line
  assert [path.name for path in tmp_path.iterdir()] == ['FILE']


def test_too_few_minutes_are_named(monkeypatch, tmp_path):
  monkeypatch.setattr(pieces, 'build', lambda *_: [piece('long', seconds=90.0)])
  command = ['accelerator', '--rehearse', f'--out={tmp_path}']
  monkeypatch.setattr(sys, 'argv', [*command, '--minutes=1'])
  with pytest.raises(InputError, match=r'long needs about 90 s.* Give --minutes 2 or more'):
    accelerator.main()


def test_where_jax_sees_no_gpu_nothing_is_tried(refused, tmp_path):
  nvidia_smi(tmp_path, 'A GPU')
  path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
  line = refused('-m', 'benchmarks.accelerator', '--out=out', PATH=path)
  assert 'JAX sees no GPU' in line
  assert 'jax[cuda13]' in line
  assert not (tmp_path / 'out' / 'results.json').exists()


def test_archives_of_runs_come_in_parts(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, 'PART_BYTES', 1000)
  for name in ('one', 'two'):
    for step in (5, 10):
      folder = tmp_path / name / 'checkpoints' / str(step)
      folder.mkdir(parents=True)
      (folder / 'weights').write_bytes(os.urandom(700))
    (tmp_path / name / 'config.json').write_text(name)
  content = archive.packed(tmp_path / 'one') + archive.packed(tmp_path / 'two', only_step=10)
  assert archive.write(tmp_path, 'all', content, max_parts=9)
  assert len(archive.parts(tmp_path, 'all')) >= 3
  archive.unpack(archive.read(tmp_path, 'all'), tmp_path / 'there')
  for path in (tmp_path / 'one').rglob('weights'):
    copy = tmp_path / 'there' / path.relative_to(tmp_path)
    assert copy.read_bytes() == path.read_bytes()
  assert [path.name for path in (tmp_path / 'there/two/checkpoints').iterdir()] == ['10']
  assert (tmp_path / 'there/two/config.json').read_text() == 'two'
  assert not archive.write(tmp_path, 'all', content, max_parts=1)  # and the old one stays
  assert archive.read(tmp_path, 'all') == content
  assert archive.write(tmp_path, 'all', b'', max_parts=1)
  assert archive.parts(tmp_path, 'all') == []
  with pytest.raises((OSError, tarfile.TarError, EOFError)):
    archive.unpack(content[:500], tmp_path / 'cut')


def test_all_contenders_on_a_gpu_are_measured_beside_ours():
  chosen = [
    contenders.chosen(128, precision, mode)
    for precision in throughput.OURS
    for mode in contenders.COMPILE_MODES
  ]
  names = [name for found in chosen for name in found if name not in throughput.OURS.values()]
  others = set(throughput.contenders('gpu', 128)) - set(throughput.OURS.values())
  assert sorted(names) == sorted(others)
  assert all(len(set(found) & set(throughput.OURS.values())) == 1 for found in chosen)


def test_every_config_is_trained_the_most_valuable_first(tmp_path):
  (tmp_path / 'folder').mkdir()
  configs = pieces.trainable(tmp_path)
  # Pictures that are not there, and second stages, which need a trained first one.
  second = {'latent_flow', 'fashion_flow', 'cifar10_flow'}
  assert set(configs) == set(NAMES) - {'default', 'convvae_mnist', *second}
  names = [one.name for one in pieces.build(pieces.ACCELERATOR, tmp_path, tmp_path, configs)]
  assert names[0] == 'self_check'
  assert len(set(names)) == len(names)
  assert all(re.fullmatch('[A-Za-z0-9._-]+', name) for name in names)
  trained = [name.removeprefix('train_') for name in names if name.startswith('train_')]
  assert tuple(trained[: len(pieces.FIRST_CONFIGS)]) == pieces.FIRST_CONFIGS
  assert sorted(trained) == configs


def test_where_a_run_stands(tiny_run):
  run = pieces.read_run(tiny_run)
  assert run['finished']
  assert (run['step'], run['epoch']) == (6, 2)
  assert run['best_step'] in (3, 6)
  assert next(iter(run['terms'])) == 'negative_elbo'
  listed = [piece('train_tiny')]
  record = plan.after({}, 5.0, run, '') | {'machine': {'cores': '2'}, 'peak_mib': None}
  assert '| tiny | 2 | 6 |' in report.markdown('', listed, {'train_tiny': record})


def test_where_a_run_stands_that_was_stopped_before_its_first_line(tiny_run, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(tiny_run, run)
  shutil.rmtree(run / 'samples')
  header, *_ = (run / 'metrics.csv').read_text().splitlines()
  (run / 'metrics.csv').write_text(header + '\n')
  stands = pieces.read_run(run)
  assert (stands['finished'], stands['step'], stands['best_step']) == (False, 6, None)
  shutil.rmtree(run / 'checkpoints')
  with pytest.raises(OSError, match='checkpoints'):
    pieces.read_run(run)


def test_a_check_of_a_gpu_is_not_done_on_a_cpu():
  with pytest.raises(SystemExit, match='JAX finds no such device'):
    self_check.check('gpu')


def test_wheels_are_requirements():
  done = subprocess.run(
    [sys.executable, '-m', 'benchmarks.accelerator', '--print-wheels'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  lines = done.stdout.split()
  assert len(lines) == len(accelerator.WHEELS)
  assert set(lines) <= set((ROOT / 'requirements.txt').read_text().splitlines())


def rehearse(out, minutes):
  """Calls the rehearsal where TensorFlow is not installed; returns the records by name."""
  command = [sys.executable, '-m', 'benchmarks.accelerator', '--rehearse', f'--out={out}']
  without_tensorflow = {'PYTHONPATH': str(ROOT / 'tests' / 'without_tensorflow')}
  began = time.monotonic()
  subprocess.run(
    [*command, f'--minutes={minutes}'], cwd=ROOT, env=os.environ | without_tensorflow, check=True
  )
  assert time.monotonic() - began < 60 * minutes
  return json.loads((out / 'results.json').read_text())['pieces']


@pytest.mark.slow
def test_the_rehearsal(tmp_path):
  records = rehearse(tmp_path, minutes=10)  # where other tests run beside it
  checks = records['self_check']['result']['checks'].values()
  assert [check['passed'] for check in checks] == [True, None, True, True]
  done = {name for name, record in records.items() if record['status'] == plan.DONE}
  assert {name.partition('_')[0] for name in done} == {
    'self', 'throughput', '50', 'roofline', 'sweep', 'iwae', 'train'
  }  # fmt: skip
  # Of the data sets, two are there.
  waiting = {name for name, record in records.items() if record['status'] == plan.WAITING}
  assert waiting == set(records) - done
  errors = {name: records[name]['error'] for name in waiting}
  assert all('cvae_jax cannot download' in e or 'holds' in e for e in errors.values()), errors
  assert len(list(tmp_path.iterdir())) <= 8
  (name,) = {path.name.partition('.')[0] for path in tmp_path.glob('finished-*')}
  archive.unpack(archive.read(tmp_path, name), tmp_path / 'runs')
  trained = {path.parent.name for path in (tmp_path / 'runs').glob('*/config.json')}
  assert trained == {name.removeprefix('train_') for name in done if name.startswith('train_')}


@pytest.mark.slow
def test_a_training_goes_on_from_what_was_carried_back(tmp_path):
  sizes = pieces.REHEARSAL._replace(train=(*pieces.REHEARSAL.train, '--config.num_epochs=100000'))
  out, steps = tmp_path / 'out', []
  out.mkdir()
  for number in (1, 2):
    work = tmp_path / f'machine {number}'
    data_dir = accelerator.tiny_data(work / 'data')
    training = pieces.training(sizes, data_dir, work, 'mnist')
    session = accelerator.Session(out, work, [training], sizes)
    session.run(training, pieces.SECONDS_AROUND_TRAINING + 5)
    assert session.records['train_mnist']['status'] == plan.UNFINISHED
    steps.append(session.records['train_mnist']['result']['step'])
  assert 0 < steps[0] < steps[1]
  resumed = re.search(r'resuming at step (\d+)', (work / 'runs/mnist/train.log').read_text())
  assert int(resumed[1]) >= steps[0]
