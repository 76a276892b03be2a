"""What has been measured so far, as Markdown for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import roofline, sweep, throughput
from benchmarks.accelerator import self_check
from benchmarks.accelerator.plan import Piece

Record = Mapping[str, Any]


def markdown(title: str, pieces: Sequence[Piece], records: Mapping[str, Record]) -> str:
  """The whole report.

  Args:
    title: its heading.
    pieces: all that is to be measured, in order.
    records: what is known of them by name; see `plan.after`.
  """
  known = {piece.name: records[piece.name] for piece in pieces if piece.name in records}
  done = sum(record['status'] == 'done' for record in known.values())
  text = [f'# {title}', f'{done} of {len(pieces)} pieces are done.']
  machines = list(dict.fromkeys(_machine(record) for record in known.values()))
  text += [f'Machine {number}: {machine}.' for number, machine in enumerate(machines, 1)]
  text.append('\n'.join(_overview(pieces, known, machines)))
  for name, record in known.items():
    if record.get('result') and (lines := list(_details(name, record['result']))):
      text += [f'## {name}', '\n'.join(lines)]
  if runs := {name: record for name, record in known.items() if name.startswith('train_')}:
    text += ['## Trainings', '\n'.join(_trainings(runs))]
  return '\n\n'.join(text) + '\n'


def _machine(record: Record) -> str:
  parts = (f'{name} {value}' for name, value in record['machine'].items() if name != 'date')
  return ', '.join(parts)


def _overview(
  pieces: Sequence[Piece], known: Mapping[str, Record], machines: list[str]
) -> Iterator[str]:
  yield '| piece | status | seconds | peak GPU memory, MiB | machine | note |'
  yield '|---|---|---|---|---|---|'
  for piece in pieces:
    record = known.get(piece.name)
    if record is None:
      yield f'| {piece.name} | to do | about {piece.seconds:.0f} | | | |'
      continue
    peak = record.get('peak_mib')
    note = record.get('error', '').replace('|', '\\|')
    if 'cut_off_after' in record:
      note = f'cut off after {record["cut_off_after"]:.0f} s, at the end of a call'
    number = machines.index(_machine(record)) + 1
    seconds = f'{record["seconds"]:.0f}'
    cells = record['status'], seconds, f'{peak:,}' if peak else '', str(number), note
    yield f'| {piece.name} | {" | ".join(cells)} |'


def _details(name: str, result: Mapping[str, Any]) -> Iterator[str]:
  """The table or the lines of one piece."""
  if 'checks' in result:
    yield from (f'- {line}' for line in self_check.lines(result['checks']))
  elif 'contenders' in result:
    yield throughput.table(result['contenders'], result['batch_size'])
    if result['missing']:
      yield f'\nCould not run (see log.txt): {"; ".join(result["missing"])}.'
  elif 'command_seconds' in result:
    epochs, cost = result['num_epochs'], result['cost']
    yield f'- {epochs} epochs, the whole command: {result["command_seconds"]:.1f} s'
    yield f'- of them the first epoch: {result["first_epoch_seconds"]:.1f} s'
    yield f'- an epoch over its bare steps: {cost:+.1%}'
  elif 'precisions' in result:
    yield roofline.table(result['precisions'])
  elif 'ways' in result:
    yield sweep.table(result['ways'], result['runs'], result['batch_size'])
  elif 'iwae' in result:
    for bound, values in result.items():
      low, high = (f'{values[end]:.2f}' for end in ('low', 'high'))
      yield f'- {bound}: {values["value"]:.2f} ({low} to {high}), {values["protocol"]}'


def _trainings(runs: Mapping[str, Record]) -> Iterator[str]:
  yield '| config | epochs | step | minutes | images/s | best step | validation there |'
  yield '|---|---|---|---|---|---|---|'
  for name, record in runs.items():
    if run := record.get('result'):
      terms = ', '.join(f'{term} {value:.2f}' for term, value in run['terms'].items())
      epochs = f'{run["epoch"]:.4g}' if run['finished'] else f'{run["epoch"]:.4g}, unfinished'
      yield (
        f'| {name.removeprefix("train_")} | {epochs} | {run["step"]} | {run["seconds"] / 60:.1f} | '
        f'{run["images_per_second"]:,.0f} | {run["best_step"] or ""} | {terms} |'
      )
