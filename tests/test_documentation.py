"""Documents agree with the code: commands parse or run, links lead somewhere."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quoted_commands
from conftest import ROOT
from cvae_jax import config as config_lib
from cvae_jax.evaluation import suite
from cvae_jax.inference import sampling
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import sweep_plan
from quoted_commands import SCRIPTS

DOCUMENTS = [
  *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')),
  *sorted(ROOT.glob('docs/**/*.md')),
  *sorted(ROOT.glob('benchmarks/*.md')),
  *sorted(ROOT.glob('cvae_jax/shipped/*/README.md')),
  ROOT / 'tests' / 'faults' / 'README.md',
]
OF_THE_READER = re.compile('--indices|--images|--import|DIR|runs/|hf://')
LINK = re.compile(r'\]\(<?([^()\s>]+)>?(?: "[^"]*")?\)|(?:src|href)="([^"]+)"')
HEADING = re.compile(r'^#+ +(.*?) *#*$', re.MULTILINE)


def commands_of(text, document='a document'):
  return list(quoted_commands.quoted(document, text))


def from_make(commands):
  """The commands that make would run; an error in place of those that it cannot."""
  for command in dict.fromkeys(command for command in commands if command.words[0] == 'make'):
    done = subprocess.run(
      ['make', '-n', *command.words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
      yield command, done.stderr
    else:
      block = f'```\n{done.stdout}\n```'
      for inner in commands_of(block, f'{command.document}: {command.text}'):
        if (
          inner.words[0] != 'make' and not inner.words[0].startswith('-') and '$' not in inner.text
        ):
          yield inner, None


def mistakes(commands):
  """Maps each command that today's flags refuse to the reason."""
  wrong = {}
  commands = {command.text: command for command in commands}  # each once
  if shutil.which('make'):
    for command, error in from_make(list(commands.values())):
      if error:
        wrong[command] = error
      else:
        commands.setdefault(command.text, command)
  programs = {}
  for script in SCRIPTS:
    own = [command for command in commands.values() if command.words[0] == script]
    program = subprocess.Popen(
      [sys.executable, ROOT / 'tests' / 'quoted_commands.py', script],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    programs[program] = own
    program.stdin.write(json.dumps([command.words[1:] for command in own]))
    program.stdin.close()
  for program, own in programs.items():
    with program:
      results = json.loads(program.stdout.read())
    for command, result in zip(own, results, strict=True):
      try:
        check(command.words[0], **result)
      except InputError as error:
        wrong[command] = str(error)
  return wrong


def check(script, flags=None, config=None, imports=0, error=None):
  """Raises InputError for what the command itself refuses after it has parsed its flags."""
  if error:
    raise InputError(error)
  if flags is None or imports:  # --help; names that a module of the reader's registers
    return
  if config is not None:
    config = config_lib.from_plain(config)
    config_lib.check(config)
    for text in flags['sweep'] or ():
      sweep_plan.parse(text, config)
  if script == 'evaluate.py':
    suite.chosen(flags['metrics'])
  if script == 'sample.py':
    values = {name: flags[name] for name in sampling.Request._fields}
    values['label'] = flags['label'] or flags['digit']
    output = flags['output'] and Path(flags['output'])
    sampling.check(
      sampling.Request(**values | {'format': sampling.format_of(flags['format'], output)})
    )


def slug(heading):
  text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading).replace('`', '').lower()
  return re.sub(r'[^\w\- ]', '', text).strip().replace(' ', '-')


def dead_links(path, text):
  """The links of a document to files or headings that do not exist."""
  dead = []
  text = re.sub(r'`[^`\n]+`', '', quoted_commands.FENCED.sub('', text))
  for target in (first or second for first, second in LINK.findall(text)):
    if re.match(r'[a-z]+:', target):
      continue
    name, _, anchor = target.partition('#')
    file = path.parent / name if name else path
    if file == path or (anchor and file.is_file()):
      headings = HEADING.findall(text if file == path else file.read_text())
      found = anchor in map(slug, headings)
    else:
      found = file.exists()
    if not found:
      dead.append(target)
  return dead


def test_quoted_commands_parse():
  texts = {path.relative_to(ROOT): path.read_text() for path in DOCUMENTS}
  commands = [each for path, text in texts.items() for each in commands_of(text, str(path))]
  assert {command.words[0] for command in commands} >= {*SCRIPTS, 'make'}
  wrong = mistakes(commands).items()
  assert not wrong, '\n'.join(f'{each.document}: {each.text}\n  {why}' for each, why in wrong)


@pytest.mark.slow
def test_quoted_commands_run_that_need_no_files_of_the_reader(tmp_path):
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  # A shorter run than that of the documents, which `make train` makes in another test.
  run_in(tmp_path, ('train.py', '--config=configs/digits.py', '--config.num_epochs=1'))
  commands = {
    tuple(command.words)
    for path in DOCUMENTS
    for command in commands_of(path.read_text(), str(path))
    if needs_no_files(command)
  }
  assert {words[0] for words in commands} == {'sample.py', 'evaluate.py'}
  assert len(commands) > 12
  for words in commands:
    result = run_in(tmp_path, words).splitlines()[-1].rpartition(': ')[2]
    assert (tmp_path / result).is_file(), words


def needs_no_files(command):
  """Whether it draws from shipped weights, or draws from and quickly measures the run on digits."""
  script, *arguments = command.words
  if 'runs/digits' in command.text:
    is_quick = script == 'sample.py' or '--metrics' in arguments
    return is_quick and '--import' not in arguments
  return script == 'sample.py' and not OF_THE_READER.search(command.text)


def run_in(folder, words):
  """Runs a script with arguments, which must succeed; returns its output."""
  command = [sys.executable, str(ROOT / words[0]), *words[1:]]
  done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stderr) == (0, ''), words
  return done.stdout


def test_fields_in_code_exist():
  for path in DOCUMENTS:
    fields = re.findall(r'--config\.([\w.]*\w)(?==)', path.read_text())
    assert set(fields) <= set(config_lib.FIELDS), path


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
  assert dead_links(path, path.read_text()) == []


WRONG = [
  'python train.py --config configs/digits.py --smok',
  'python train.py --config configs/digit.py',
  'python train.py --config configs/digits.py --config.betta=4',
  'python train.py --config configs/digits.py --config.likelihood=laplace',
  'python train.py --config configs/digits.py --config.latent_dim=0',
  'python train.py --config configs/digits.py --sweep betta=1,2',
  'python evaluate.py --metric likelihood',
  'python evaluate.py --metrics likelyhood',
  'python evaluate.py --scatter --iwae_samples 5',
  '.venv/bin/python sample.py --mode dance',
  'python sample.py --mode reconstruct --dims 1,2',
  'python sample.py 3',
]


@pytest.mark.skipif(not shutil.which('make'), reason='no make here')
def test_wrong_commands_are_found():
  made = ['make trian', 'make train FLAGS=--config.betta=4', 'make sample FLAGS="--digits 3"']
  commands = commands_of('```\n' + '\n'.join([*WRONG, *made]) + '\n```')
  right = commands_of('`python sample.py --digit 3` and `make sample FLAGS="--digit 3"`')
  found = {command.text for command in mistakes([*commands, *right])}
  assert found >= set(WRONG) | {'make trian'}
  assert len(found) == len(WRONG) + len(made)


def test_commands_are_found_wherever_they_are_quoted():
  text = """
`python sample.py --digit 3` draws, `make` lists; `python -m benchmarks` does not count.

```
flags="--config configs/digits.py"
python train.py $flags --workdir a &    # in the background
srun --nodes=2 python train.py \\
  $flags
make train    # python sample.py
```
"""
  assert [command.words for command in commands_of(text)] == [
    ['train.py', '--config', 'configs/digits.py', '--workdir', 'a'],
    ['train.py', '--config', 'configs/digits.py'],
    ['make', 'train'],
    ['sample.py', '--digit', '3'],
    ['make'],
  ]


def test_dead_links_are_found():
  text = '[a](LICENSE) ![b](gone.png) [c](README.md#no-such-heading) [d](https://x.org) `[e](f)`'
  assert dead_links(ROOT / 'README.md', text) == ['gone.png', 'README.md#no-such-heading']
