"""The user's pictures: which files are taken, and which class each has."""

import csv
import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

import cvae_jax
from cvae_jax.inference import inputs, prediction, sampling
from cvae_jax.runtime.errors import InputError
from made_data import save_picture

DIGITS = np.uint8(datasets.load_digits().images * 15.9)
NAMES = ('cat', 'caf\xe9', r'caf\xe9', 'frog', *'456789')


@pytest.fixture(scope='module')
def model(tiny_run):
  """A trained model of ten classes, some of which have the names of folders."""
  return dataclasses.replace(cvae_jax.load(tiny_run), class_names=NAMES)


@pytest.fixture
def folder(tmp_path):
  """Pictures in folders with the names of classes, and in others."""
  root = tmp_path / 'frog'  # itself named like a class
  for number, place in enumerate(('', 'cat', 'cafe\u0301', os.fsdecode(b'caf\xe9'), 'toad')):
    save_picture(root / place / f'{number}.png', DIGITS[number])
  return root


CLASSES = {'0.png': 3, '1.png': 0, '2.png': 1, '3.png': 2}


def request(*files, **changes):
  return sampling.Request('reconstruct', images=list(map(str, files)), **changes)


def test_what_systems_leave_in_a_folder_of_pictures_is_passed_over(folder, capsys):
  for name in ('._0.png', '.hidden/x.png', '@eaDir/0.png/thumb.jpg', '__MACOSX/cat/x.png'):
    save_picture(folder / name, DIGITS[0])
  for name in ('Thumbs.db', 'notes.txt', '0.png.json'):
    (folder / name).touch()
  assert [path.name for path in inputs.find_pictures(folder)] == [
    '0.png', '2.png', '3.png', '1.png', '4.png'
  ]  # fmt: skip
  (line,) = capsys.readouterr().out.splitlines()
  assert all(f'1 {kind}' in line for kind in ('._*', '@eaDir', '__MACOSX', '.json', '.txt'))


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
  (tmp_path / 'x.heic').touch()
  (tmp_path / 'y.heic').touch()
  with pytest.raises(InputError, match=rf'{tmp_path} .*2 \.heic'):
    inputs.find_pictures(tmp_path)


def test_pictures_have_the_class_of_their_folder_for_both_commands(model, folder, tmp_path, capsys):
  model = dataclasses.replace(model, folder=tmp_path / 'results')
  with open(prediction.predict(model, folder).table, newline='', encoding='utf-8') as file:
    rows = {Path(row['file']).name: row for row in csv.DictReader(file)}
  assert {rows[name]['class'] for name in CLASSES} == {NAMES[label] for label in CLASSES.values()}
  for name, row in rows.items():
    if name in CLASSES:
      assert (row['class'], row['class_from']) == (NAMES[CLASSES[name]], 'folder')
      assert float(row['probability']) == 1
    else:
      assert row['class_from'] == 'model'
      assert 0 < float(row['probability']) <= 1
  shown = capsys.readouterr().out
  assert 'frog (1)' in shown
  assert 'by the model' in shown
  files = inputs.find_pictures(folder)
  drawn = sampling.draw(model, request(*files))
  shown = capsys.readouterr().out
  for path in files:
    (line,) = (line for line in shown.splitlines() if line.startswith(f'{path.name}: '))
    if path.name in CLASSES:
      assert NAMES[CLASSES[path.name]] in line
      assert 'folder' in line
    else:
      assert 'p = ' in line
  labels = [NAMES.index(rows[path.name]['class']) for path in files]
  given = sampling.draw(model, request(*files, label=[NAMES[label] for label in labels]))
  np.testing.assert_allclose(drawn.images, given.images, atol=1e-6)


def test_a_label_counts_more_than_a_folder(model, folder, capsys):
  path = folder / 'cat' / '1.png'
  found = sampling.draw(model, request(path))
  assert 'cat, from its folder cat' in capsys.readouterr().out
  given = sampling.draw(model, request(path, label=['frog']))
  assert 'folder' not in capsys.readouterr().out
  expected = model.reconstruct(found.images[:1, 0], [3])
  np.testing.assert_allclose(given.images[1, :1], expected, atol=1e-5)
  assert not np.allclose(found.images[1], given.images[1], atol=1e-5)


def test_the_folder_may_be_the_current_one(model, folder, monkeypatch, capsys):
  for place, given in (('cat', '1.png'), ('toad', '../cat/1.png'), ('cat', '.')):
    monkeypatch.chdir(folder / place)
    sampling.draw(model, request(given))
    assert 'cat, from its folder cat' in capsys.readouterr().out


def test_names_that_are_no_utf8_stand_in_both_tables(model, tmp_path):
  folder = tmp_path / os.fsdecode(b'\xff set')
  save_picture(folder / os.fsdecode(b'caf\xe9') / os.fsdecode(b'\x1b\xe9.png'), DIGITS[0])
  model = dataclasses.replace(model, folder=tmp_path / 'results')
  table, _ = prediction.predict(model, folder)
  with open(table, newline='', encoding='utf-8') as file:
    (row,) = csv.DictReader(file)
  assert row['file'] == r'caf\xe9/\x1b\xe9.png'
  assert row['class'] == r'caf\xe9'
  assert np.load(table.with_suffix('.npz'))['files'].tolist() == [row['file']]
  str(table).encode()


def test_labels_match_in_either_form_of_unicode(model):
  assert model.label('cafe\u0301') == model.label('CAF\xc9') == model.label('caf\xe9') == 1
  assert model.label(r'caf\xe9') == model.label(os.fsdecode(b'caf\xe9')) == 2


def test_pictures_are_fitted_as_in_training(model, tmp_path):
  path = save_picture(tmp_path / 'x.png', np.full((8, 4), 200, np.uint8))
  for fit, columns in (('crop', range(8)), ('stretch', range(8)), ('pad', range(2, 6))):
    config = model.config.copy_and_resolve_references()
    config.data.fit = fit
    images, _ = inputs.read_pictures(dataclasses.replace(model, config=config), [path], False)
    expected = np.zeros((8, 8), np.uint8)
    expected[:, columns] = 200
    np.testing.assert_array_equal(images[0, ..., 0], expected)
