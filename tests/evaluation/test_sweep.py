"""A sweep, and an experiment from its question to its report."""

import re
import shutil

import pytest

from cvae_jax.evaluation import classifier, sweep
from cvae_jax.evaluation.experiment import Experiment
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import run_folder, sweep_plan
from cvae_jax.training.sweep_plan import Axis
from tiny import DENSE, tiny_config

CONFIG = tiny_config(**DENSE)


def make(**changes):
  experiment = Experiment(
    question='Does it depend on β?',
    axes=(Axis('beta', (0.5, 4.0)), Axis('seed', (0, 1))),
    published='nothing yet.',
    answer=lambda findings: ', '.join(
      f'{finding.name} {finding.numbers["negative_elbo"]:.3f} {finding.numbers["mse"]:.5f}'
      for finding in findings
    ),
    name=lambda values: f'weight <{values["beta"]:g}>',
    scatter=True,
    plane=('mse', 'kl'),
  )
  return experiment._replace(**changes)


@pytest.mark.slow
def test_a_report_holds_question_answer_runs_and_pictures(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(classifier, 'MIN_STEPS', 20)
  sweep.run(CONFIG, [], make(), str(tmp_path / 'sweep'))
  page = (tmp_path / 'sweep' / 'report.html').read_text()
  assert 'Does it depend on β?' in page
  answer = re.search(r'Answer: weight &lt;0.5&gt; ([\d.]+) ([\d.]+), weight &lt;4&gt;', page)
  with open(tmp_path / 'sweep' / 'sweep.csv') as file:
    header, *lines = [line.strip().split(',') for line in file]
  assert all(float(line[header.index('mse')]) > 0 for line in lines)
  bounds = [float(line[header.index('negative_elbo')]) for line in lines]
  assert float(answer[1]) == pytest.approx(sum(bounds[:2]) / 2, abs=1e-3)
  assert page.count('<table>') == 2
  names = {path.stem for path in (tmp_path / 'sweep').glob('*.png')}
  assert names == {'curves', 'runs', 'latents_0', 'latents_1', 'plane'}
  assert page.count('data:image/png;base64,') == len(names)
  assert 'http' not in page
  assert 'report: ' in capsys.readouterr().out


def test_values_of_the_command_replace_those_of_the_experiment(tmp_path, monkeypatch):
  swept = []
  monkeypatch.setattr(sweep_plan, 'members', lambda _, axes, __: swept.extend(axes) or 1 / 0)
  with pytest.raises(ZeroDivisionError):
    sweep.run(CONFIG, ['seed=7', 'latent_dim=2,3'], make(), str(tmp_path))
  assert swept == [Axis('beta', (0.5, 4.0)), Axis('seed', (7,)), Axis('latent_dim', (2, 3))]


def test_flags_of_a_single_run_are_refused(tmp_path):
  with pytest.raises(InputError, match='--resume_from'):
    sweep.run(CONFIG, ['beta=1'], None, str(tmp_path / 'x'), tmp_path)
  assert not (tmp_path / 'x').exists()


def test_a_run_or_a_file_cannot_hold_a_sweep(tiny_run, tmp_path):
  with pytest.raises(InputError, match=f'{tiny_run} .*--workdir'):
    sweep.run(CONFIG, ['beta=1,2'], None, str(tiny_run))
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=f'{tmp_path / "file"} is a file'):
    sweep.run(CONFIG, ['beta=1,2'], None, str(tmp_path / 'file'))


def test_other_runs_in_the_folder_are_named(tiny_run, tmp_path):
  folder = tmp_path / 'my-sweep'
  shutil.copytree(tiny_run, folder / 'beta=7')
  members = sweep_plan.members(CONFIG, [Axis('beta', (1.0, 2.0))], folder)
  assert sweep_plan.others(members, folder) == ['beta=7']
  assert run_folder.newest(tmp_path) == folder / 'beta=7'
