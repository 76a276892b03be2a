"""Listing a folder of pictures: its layouts, its order, and errors for other layouts."""

import os
from pathlib import Path

import numpy as np
import pytest

from cvae_jax.data.readers import folder
from cvae_jax.runtime.errors import InputError
from made_data import config_of
from made_data import make_empty as make
from made_data import names_in as names


def test_classes_alone_are_the_training_split(tmp_path):
  make(tmp_path, 'dogs/b.jpg', 'dogs/a.PNG', 'cats/z.jpeg', 'cats/y.webp', 'dogs/B.png')
  listing = folder.read(tmp_path)
  assert listing.class_names == ('cats', 'dogs')
  assert list(listing.splits) == ['train']
  paths, labels, _ = listing.splits['train']
  assert names(tmp_path, paths) == [
    'cats/y.webp',
    'cats/z.jpeg',
    'dogs/B.png',
    'dogs/a.PNG',
    'dogs/b.jpg',
  ]
  assert labels.tolist() == [0, 0, 1, 1, 1]
  assert labels.dtype == np.int32
  assert not listing.passed_over


@pytest.mark.parametrize('train', ['train', 'training', 'Training'])
@pytest.mark.parametrize('validation', ['validation', 'val', 'valid'])
@pytest.mark.parametrize('test', ['test', 'testing'])
def test_splits_are_found_in_every_spelling(tmp_path, train, validation, test):
  make(
    tmp_path,
    *(f'{train}/{name}/1.png' for name in 'abc'),
    *(f'{validation}/{name}/2.png' for name in 'ab'),
    f'{test}/c/3.png',
    f'{test}/c/4.png',
  )
  splits = folder.read(tmp_path).splits
  assert [split.labels.tolist() for split in splits.values()] == [[0, 1, 2], [0, 1], [2, 2]]
  assert list(splits) == ['train', 'validation', 'test']
  assert names(tmp_path, splits['test'][0]) == [f'{test}/c/3.png', f'{test}/c/4.png']


def test_classes_sort_as_numbers_if_all_are_numbers(tmp_path):
  make(tmp_path / 'one', *(f'{number}/x.png' for number in range(11)))
  assert folder.read(tmp_path / 'one').class_names == tuple(map(str, range(11)))
  make(tmp_path / 'two', '10/x.png', '9/x.png', 'a/x.png')
  assert folder.read(tmp_path / 'two').class_names == ('10', '9', 'a')


def test_other_files_are_counted(tmp_path):
  make(
    tmp_path,
    'README.txt',
    '.git/HEAD',
    'train/.DS_Store',
    'train/notes.csv',
    'train/a/x.png',
    'train/a/x.txt',
    'train/a/._x.png',
    'train/a/nested/y.png',
    'train/a/folder.png/y.png',
    'test/a/x.heic',
    'test/a/x.PNG.JSON',
    'test/a/x.png',
  )
  listing = folder.read(tmp_path)
  assert names(tmp_path, listing.splits['train'][0]) == ['train/a/x.png']
  left = {'.git': 1, '.DS_Store': 1, '._*': 1}
  others = {'.txt': 2, '.csv': 1, '.heic': 1, '.json': 1, 'folder(s) in classes': 2}
  assert listing.passed_over == {**left, **others}
  make(tmp_path, 'train/stray.png')
  assert folder.read(tmp_path / 'train').passed_over['stray picture(s)'] == 1


LEFT = (
  '__MACOSX/._cats/._x.png', '__MACOSX/x.png', '@eaDir/x.png/THUMB.jpg', 'lost+found/',
  '$RECYCLE.BIN/x.jpg', 'System Volume Information/x', '.ipynb_checkpoints/x-checkpoint.png',
  '__pycache__/', '#recycle/', '.Trash-1000/y.png', '.DS_Store', 'Thumbs.db', 'thumbs.DB',
  'desktop.ini', 'Icon\r', '._x.png',
)  # fmt: skip


@pytest.mark.parametrize('place', ['', 'train', 'train/cats'])
def test_what_systems_leave_is_passed_over_and_counted(tmp_path, place, capsys):
  make(tmp_path, 'train/cats/x.png', 'train/dogs/x.png', *(str(Path(place, n)) for n in LEFT))
  listing = folder.read(tmp_path)
  assert listing.class_names == ('cats', 'dogs')
  assert names(tmp_path, listing.splits['train'][0]) == ['train/cats/x.png', 'train/dogs/x.png']
  assert listing.passed_over.total() == len({Path(name).parts[0] for name in LEFT})
  folder.source(config_of('folder', tmp_path).data)
  (line,) = capsys.readouterr().out.splitlines()
  assert str(tmp_path) in line
  assert line.endswith(', ....')


@pytest.mark.parametrize('layout', [[''], ['train/'], ['train/', 'val/', 'test/']])
def test_pictures_without_class_folders_have_no_labels(tmp_path, layout):
  make(tmp_path, *(f'{place}{name}' for place in layout for name in ('b.png', 'a.tif', 'x.txt')))
  listing = folder.read(tmp_path)
  assert listing.class_names == ()
  assert len(listing.splits) == len(layout)
  for place, (paths, labels, _) in zip(layout, listing.splits.values(), strict=True):
    assert names(tmp_path, paths) == [f'{place}a.tif', f'{place}b.png']
    assert labels.tolist() == [0, 0]
    assert labels.dtype == np.int32
  assert listing.passed_over == {'.txt': len(layout)}


COMPOSED, DECOMPOSED = 'caf\xe9', 'cafe\u0301'


def test_composed_and_decomposed_names_are_one_class(tmp_path):
  make(tmp_path, f'train/{DECOMPOSED}/1.png', 'train/z/1.png', f'test/{COMPOSED}/2.png')
  make(tmp_path, f'val/{COMPOSED}/a.png', f'val/{DECOMPOSED}/b.png', 'val/z/b.png')
  listing = folder.read(tmp_path)
  assert listing.class_names == (COMPOSED, 'z')
  files = {split: names(tmp_path, paths) for split, (paths, _, _) in listing.splits.items()}
  assert files == {  # by the bytes on disk
    'train': [f'train/{DECOMPOSED}/1.png', 'train/z/1.png'],
    'validation': [f'val/{DECOMPOSED}/b.png', f'val/{COMPOSED}/a.png', 'val/z/b.png'],
    'test': [f'test/{COMPOSED}/2.png'],
  }
  assert listing.splits['validation'].labels.tolist() == [0, 0, 1]
  assert all(path.exists() for split in listing.splits.values() for path in split.images)


def test_names_that_are_no_utf8_become_printable_classes(tmp_path):
  for name in (b'caf\xe9', b'caf\xea', b'a\nb'):
    place = os.fsencode(tmp_path) + b'/train/' + name
    os.makedirs(place)
    with open(place + b'/\xff.png', 'wb'):
      pass
  listing = folder.read(tmp_path)
  assert listing.class_names == (r'a\x0ab', r'caf\xe9', r'caf\xea')
  assert all(path.exists() for path in listing.splits['train'].images)
  os.mkdir(os.fsencode(tmp_path) + b'/train/\xfe')
  with pytest.raises(InputError, match=r'train/\\xfe is a class without'):
    folder.read(tmp_path)


def test_links_are_followed_and_broken_ones_are_listed(tmp_path):
  make(tmp_path, 'elsewhere/x.png', 'set/a/')
  (tmp_path / 'set' / 'b').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'set' / 'a' / 'l.png').symlink_to(tmp_path / 'elsewhere' / 'x.png')
  (tmp_path / 'set' / 'a' / 'm.png').symlink_to(tmp_path / 'nowhere')
  (tmp_path / 'set' / 'a' / 'n.png').symlink_to('n.png')
  paths, labels, _ = folder.read(tmp_path / 'set').splits['train']
  assert names(tmp_path / 'set', paths) == ['a/l.png', 'a/m.png', 'a/n.png', 'b/x.png']
  assert labels.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
  ('content', 'place', 'message'),
  [
    ([], '', 'no class folder'),
    (['x.heic', 'z.txt', '.DS_Store'], '', r'no picture, only 1 \.heic'),
    (['train/x.png', 'test/a/x.png'], 'train', r'test holds class folders.*train pictures'),
    (['train/a/x.png', 'test/x.png'], 'test', r'train holds class folders.*test pictures'),
    (['train/a/x.png', 'test/'], 'test', 'no class folder'),
    (['a/x.png', 'b/x.heic'], 'b', r'without a picture.* 1 \.heic'),
    (['train/a/x.png', 'val/a/'], 'val/a', 'without a picture'),
    (['set/train/a/x.png'], 'set', r'\(train, \.\.\.\).*set itself'),
    (['train/a/x.png', 'training/a/x.png'], '', 'both train/ and training/'),
    (['train/a/x.png', 'val/a/x.png', 'valid/a/x.png'], '', 'both val/ and valid/'),
    (['train/a/x.png', 'test/a/x.png', 'test/b/x.png'], 'test/b', r'not have: a\.'),
    (['test/a/x.png', 'val/a/x.png'], '', 'test/ and val/.* no train/'),
    (['train/a/x.png', 'cats/x.png'], '', r'\(train\).*\(cats\)'),
  ],
)
def test_other_layouts_are_refused_by_name(tmp_path, content, place, message):
  root = tmp_path / 'root'
  make(root, './', *content)
  with pytest.raises(InputError, match=message) as error:
    folder.read(root)
  assert str(root / place) in str(error.value)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
  with pytest.raises(InputError, match=r'missing .*train/<class>'):
    folder.read(tmp_path / 'missing')
  make(tmp_path, 'file')
  with pytest.raises(InputError, match=r'file .*expected a folder'):
    folder.read(tmp_path / 'file')


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
  make(tmp_path, 'set/a/x.png')
  monkeypatch.chdir(tmp_path)  # other users may not enter the folders above
  (tmp_path / 'set').chmod(0o111)
  tmp_path.chmod(0o755)
  user = os.geteuid()
  try:
    if user == 0:
      os.seteuid(65534)  # root may read anything
    with pytest.raises(InputError, match=r'set .*Permission denied'):
      folder.read(Path('set'))
  finally:
    os.seteuid(user)
    (tmp_path / 'set').chmod(0o755)


@pytest.mark.parametrize('dead_link', [False, True])
def test_a_file_in_the_place_of_a_split_is_refused(tmp_path, dead_link):
  make(tmp_path, 'train/cats/a.png')
  if dead_link:
    (tmp_path / 'validation').symlink_to(tmp_path / 'gone')
  else:
    make(tmp_path, 'validation')
  with pytest.raises(InputError, match=r'validation .*no folder'):
    folder.read(tmp_path)


NESTED = ('north/cats/a.png', 'north/cats/old/b.png', 'south/cats/c.png', 'south/dogs/d.png')


@pytest.mark.parametrize('split', ['', 'train/'])
@pytest.mark.parametrize(
  ('level', 'class_names', 'labels'),
  [
    (-1, ('cats', 'dogs', 'old'), [0, 0, 1, 2]),
    (1, ('north', 'south'), [0, 0, 1, 1]),
    (2, ('cats', 'dogs'), [0, 0, 0, 1]),
  ],
)
def test_classes_of_a_chosen_level(tmp_path, split, level, class_names, labels):
  make(tmp_path, *(split + name for name in NESTED), f'{split}stray.png', f'{split}north/x.txt')
  listing = folder.read(tmp_path, level)
  assert listing.class_names == class_names
  assert listing.splits['train'].labels.tolist() == labels
  order = [0, 2, 3, 1] if level == -1 else [0, 1, 2, 3]
  expected = [split + NESTED[row] for row in order]
  assert names(tmp_path, listing.splits['train'].images) == expected
  assert listing.passed_over == {'stray picture(s)': 1, '.txt': 1}


def test_pictures_above_the_level_are_stray(tmp_path):
  make(tmp_path, *NESTED)
  listing = folder.read(tmp_path, 3)
  assert listing.class_names == ('old',)
  assert listing.passed_over == {'stray picture(s)': 3}
  with pytest.raises(InputError, match=r'data\.class_level=4'):
    folder.read(tmp_path, 4)
  with pytest.raises(InputError, match=r'north is a class .*--config\.data\.class_level=-1'):
    folder.read(tmp_path)
  make(tmp_path, 'south/owls/')
  for level in (-1, 2):
    with pytest.raises(InputError, match='south/owls is a class without a picture'):
      folder.read(tmp_path, level)


def test_links_are_followed_at_a_chosen_level_and_end(tmp_path):
  make(tmp_path / 'set', *NESTED)
  make(tmp_path / 'elsewhere', 'e.png')
  (tmp_path / 'set' / 'north' / 'loop').symlink_to(tmp_path / 'set')
  (tmp_path / 'set' / 'south' / 'owls').symlink_to(tmp_path / 'elsewhere')
  listing = folder.read(tmp_path / 'set', -1)
  assert listing.class_names == ('cats', 'dogs', 'old', 'owls')
  assert len(listing.splits['train'].labels) == 5
