"""Tables of conditions from files of each form, compared with what other libraries read there."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

import parquet_files
from cvae_jax.config import Column
from cvae_jax.data import datasets
from cvae_jax.data.readers import DATASETS
from cvae_jax.runtime.errors import InputError
from made_data import config_of

COUNT = 60
RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (COUNT, 8, 8), np.uint8)
DIGIT = np.arange(COUNT) % 3 + 7
ANGLE = np.where(np.arange(COUNT) % 5 == 0, np.nan, RANDOM.randn(COUNT).round(3))
GLASSES = np.arange(COUNT) % 4 == 0
YES = ['No', 'Yes']
COLOUR = np.array(['red', 'blue', ''])[np.arange(COUNT) * 7 % 3]
KINDS = {'digit': 'category', 'angle': 'number', 'glasses': 'flag', 'colour': 'category'}
ROWS = {'digit': DIGIT, 'angle': ANGLE, 'glasses': GLASSES, 'colour': COLOUR}
ALL = slice(None)


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def config(name, path, conditions='all', **changes):
  fields = {'data__num_classes': 0, 'data__conditions': conditions}
  return config_of(name, path, **(fields | changes))


def source(*arguments, **changes):
  given = config(*arguments, **changes)
  return DATASETS[given.data.name](given.data)


def texts(source):
  """The cells of each split as texts: a name, a number of three digits, or '' where empty."""

  def text(column, value):
    if np.isnan(value):
      return ''
    return f'{value:.3f}' if column.kind == 'number' else column.value_names[int(value)]

  return {
    name: [tuple(map(text, source.columns, row)) for row in split.cells]
    for name, split in source.splits.items()
  }


def expected(digit, angle, glasses, colour):
  """The same of one row of raw values."""
  return (str(digit), '' if angle != angle else f'{angle:.3f}', ['no', 'yes'][int(glasses)], colour)


def write_csv(
  folder, name='labels.csv', header=('file', *KINDS), rows=ALL, place='images', **edits
):
  """Pictures and their table; `edits` gives cells by line, `line_7={'angle': 'x'}`."""
  (folder / place).mkdir(parents=True, exist_ok=True)
  table = []
  for number in range(COUNT)[rows]:
    Image.fromarray(IMAGES[number]).save(folder / place / f'{number}.png')
    angle = '' if np.isnan(ANGLE[number]) else ANGLE[number]
    cells = {
      'file': f'{number}.png',
      'digit': DIGIT[number],
      'angle': angle,
      'glasses': YES[int(GLASSES[number])],
      'colour': COLOUR[number] or 'NA',
    }
    table.append(cells | edits.get(f'line_{len(table) + 2}', {}))
  with open(folder / name, 'w', newline='') as file:
    writer = csv.writer(file, delimiter='\t' if name.endswith('.tsv') else ',')
    writer.writerows([header, *(list(row.values()) for row in table)])
  return folder


def of_csv(*paths):
  """What the csv module reads, by the name of a picture."""
  found = {}
  for path in paths:
    with open(path, newline='') as file:
      dialect = 'excel-tab' if path.suffix == '.tsv' else 'excel'
      for row in csv.DictReader(file, dialect=dialect):
        angle = float(row['angle'] or 'nan')
        colour = row['colour'].replace('NA', '')
        found[row['file']] = expected(row['digit'], angle, row['glasses'] == 'Yes', colour)
  return found


@pytest.mark.parametrize('name', ['labels.csv', 'Labels.TSV'])
def test_columns_of_a_table_beside_pictures(tmp_path, name, capsys):
  write_csv(tmp_path, name.lower())
  found = source('folder', tmp_path)
  assert {column.name: column.kind for column in found.columns} == KINDS
  split = found.splits['train']
  read = dict(zip([path.name for path in split.images], texts(found)['train'], strict=True))
  assert read == of_csv(tmp_path / name.lower())
  out = capsys.readouterr().out
  assert 'digit (category, 3 names), angle (number), glasses (flag), colour (category, 2' in out


def test_a_table_for_each_split_may_have_other_columns_beside(tmp_path):
  write_csv(tmp_path / 'train', rows=slice(0, 40))
  header = ['file', *KINDS]
  write_csv(tmp_path / 'test', 'labels.tsv', rows=slice(40, 60))
  found = source('folder', tmp_path, 'angle,colour,slant')
  assert [column.name for column in found.columns] == ['angle', 'colour']
  assert found.others == ('digit', 'glasses')
  read = {}
  for split, rows in texts(found).items():
    read |= zip([path.name for path in found.splits[split].images], rows, strict=True)
  both = of_csv(tmp_path / 'train' / 'labels.csv', tmp_path / 'test' / 'labels.tsv')
  assert read == {name: (row[1], row[3]) for name, row in both.items()}
  header[2] = 'tilt'
  write_csv(tmp_path / 'test', 'labels.tsv', header, slice(40, 60))
  with pytest.raises(InputError, match=r"test/labels\.tsv has no column 'angle', but .*train"):
    source('folder', tmp_path, 'angle,colour')
  assert source('folder', tmp_path, 'colour').columns[0].name == 'colour'


def write_arrays(path, **changes):
  arrays = {'images': IMAGES, 'labels': DIGIT, 'angle': ANGLE, 'glasses': GLASSES[:, None]}
  np.savez(path, **(arrays | {'colour': COLOUR} | changes))
  return path


def of_arrays(path, prefix='', suffix=''):
  """What NumPy reads: a row for each image."""
  with np.load(path) as arrays:
    names = [f'{prefix}{name}{suffix}' for name in ('labels', 'angle', 'glasses', 'colour')]
    columns = [arrays[name].ravel() for name in names]
    images = arrays[f'{prefix}images{suffix}']
  cells = zip(*columns, strict=True)
  return {x.tobytes(): expected(*row) for x, row in zip(images, cells, strict=True)}


def by_image(found, split='train'):
  images = np.asarray(found.splits[split].images)
  return {x.tobytes(): row for x, row in zip(images, texts(found)[split], strict=True)}


def test_arrays_beside_images_are_columns(tmp_path, capsys):
  path = write_arrays(tmp_path / 'a.npz', masks=IMAGES, mean=np.zeros(3), classes=COLOUR[:5])
  found = source('arrays', path)
  kinds = {'label': 'category', 'angle': 'number', 'glasses': 'flag', 'colour': 'category'}
  assert {column.name: column.kind for column in found.columns} == kinds
  assert by_image(found) == of_arrays(path)
  assert 'Passed over in' in (out := capsys.readouterr().out)
  assert 'masks, mean, classes' in out
  found = source('arrays', path, 'colour,label,slant')
  assert [column.name for column in found.columns] == ['label', 'colour']
  assert found.others == ('angle', 'glasses')
  assert by_image(found) == {image: (row[0], row[3]) for image, row in of_arrays(path).items()}


def test_arrays_of_splits_and_a_folder(tmp_path):
  parts, arrays = {'train': slice(0, 40), 'val': slice(40, 50), 'test': slice(50, 60)}, {}
  columns = {'images': IMAGES, 'labels': DIGIT, 'stroke_width': ANGLE, 'glasses': GLASSES}
  for number, (split, rows) in enumerate(parts.items()):
    for name, array in columns.items():
      arrays[f'{split}_{name}' if number else f'{name}_{split}'] = array[rows]
  np.savez(tmp_path / 'a.npz', **arrays)
  (tmp_path / 'folder').mkdir()
  for name, array in arrays.items():
    np.save(tmp_path / 'folder' / f'{name}.npy', array)
  in_file, in_folder = source('arrays', tmp_path / 'a.npz'), source('arrays', tmp_path / 'folder')
  assert {*in_file.columns} == {*in_folder.columns}
  order = [in_folder.columns.index(column) for column in in_file.columns]
  assert [column.name for column in in_file.columns] == ['label', 'stroke_width', 'glasses']
  for split, rows in zip(('train', 'validation', 'test'), parts.values(), strict=True):
    cells = zip(DIGIT[rows], ANGLE[rows], GLASSES[rows], strict=True)
    wanted = {
      x.tobytes(): expected(*row, '')[:3] for x, row in zip(IMAGES[rows], cells, strict=True)
    }
    assert by_image(in_file, split) == wanted
    other = by_image(in_folder, split)
    assert {image: tuple(row[n] for n in order) for image, row in other.items()} == wanted


def test_an_asked_name_is_a_column_whatever_else_it_says(tmp_path):
  path = write_arrays(tmp_path / 'a.npz', x=ANGLE, train_images_age=DIGIT)
  found = source('arrays', path, 'x,images_age')
  assert [column.name for column in found.columns] == ['x', 'images_age']
  with pytest.raises(InputError, match='3 candidates for the train images'):
    source('arrays', path, 'all')


def test_the_order_of_arrays_in_a_file_has_no_effect_on_rows(tmp_path):
  order = np.random.RandomState(1).permutation(COUNT)
  one = source('arrays', write_arrays(tmp_path / 'a.npz'))
  shuffled = {'images': IMAGES, 'labels': DIGIT, 'angle': ANGLE} | {
    'glasses': GLASSES, 'colour': COLOUR}  # fmt: skip
  np.savez(tmp_path / 'b.npz', **{name: array[order] for name, array in shuffled.items()})
  other = source('arrays', tmp_path / 'b.npz')
  assert one.columns == other.columns
  np.testing.assert_array_equal(one.splits['train'].images, other.splits['train'].images)
  np.testing.assert_array_equal(one.splits['train'].cells, other.splits['train'].cells)


def parquet_columns(rows=ALL, names=('seven', 'eight', 'nine'), **changes):
  digit = DIGIT - 7 if names else DIGIT
  columns = {
    'angle': pa.array(ANGLE[rows], from_pandas=True),
    'image': parquet_files.cells(IMAGES[rows]),
    'label': digit[rows],
    'glasses': GLASSES[rows],
    'colour': pa.array([text or None for text in COLOUR[rows]]),
    'box': pa.array([[1, 2]] * len(DIGIT[rows])),
    'day': pa.array(DIGIT[rows].astype('M8[D]')),
  }
  return columns | changes


def test_columns_of_parquet_files(tmp_path, capsys):
  names = ('seven', 'eight', 'nine')
  for number, rows in enumerate((slice(0, 30), slice(30, 50))):
    file = tmp_path / f'data/train-{number:05d}-of-00002.parquet'
    parquet_files.write(file, parquet_columns(rows), parquet_files.class_label(names))
  test = parquet_columns(slice(50, 60), colour=pa.nulls(10, pa.string()))
  parquet_files.write(tmp_path / 'data/test.parquet', test, parquet_files.class_label(names))
  found = source('parquet', tmp_path)
  assert {column.name: column.kind for column in found.columns} == {
    'label': 'category', 'angle': 'number', 'glasses': 'flag', 'colour': 'category'}  # fmt: skip
  assert found.columns[0].names == names
  assert 'box, day' in capsys.readouterr().out
  for split, rows in texts(found).items():
    of_file = {}
    for file in sorted((tmp_path / 'data').glob(f'{split}*')):
      for number, row in enumerate(pyarrow.parquet.read_table(file).to_pylist()):
        angle = np.nan if row['angle'] is None else row['angle']
        label, colour = names[row['label']], row['colour'] or ''
        of_file[file, number] = expected(label, angle, row['glasses'], colour)
    places = [(picture.file, picture.row) for picture in found.splits[split].images]
    assert dict(zip(places, rows, strict=True)) == of_file


def test_parquet_labels_may_be_missing_or_not_public(tmp_path):
  labels = [None, -1, *(DIGIT[2:] - 7).tolist()]
  metadata = parquet_files.class_label(('a', 'b', 'c', 'd'))
  parquet_files.write(tmp_path / 'train.parquet', parquet_columns(label=labels), metadata)
  hidden = parquet_columns(label=np.full(COUNT, -1))
  parquet_files.write(tmp_path / 'test.parquet', hidden, metadata)
  found = source('parquet', tmp_path, 'label')
  assert list(found.splits) == ['train']
  assert found.columns == (Column('label', 'category', ('a', 'b', 'c', 'd')),)
  np.testing.assert_array_equal(
    found.splits['train'].cells[:, 0], [np.nan, np.nan, *(DIGIT[2:] - 7)]
  )
  assert len(source('parquet', tmp_path, 'angle').splits['test'].cells) == COUNT
  other = parquet_columns(species=['x', 'y'] * 30)
  del other['label']
  parquet_files.write(tmp_path / 'train.parquet', other)
  found = source('parquet', tmp_path / 'train.parquet', 'species:category')
  assert found.columns[0].names == ('x', 'y')


def test_a_bad_cell_is_named_by_its_file_and_row(tmp_path):
  for number, angle in enumerate((ANGLE, np.where(np.arange(COUNT) == 2, np.inf, ANGLE))):
    file = tmp_path / f'train-{number:05d}-of-00002.parquet'
    parquet_files.write(file, parquet_columns(names=(), angle=angle))
  with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet, row 2: 'inf'"):
    source('parquet', tmp_path, 'angle')


@pytest.mark.parametrize('label', ['fine_label', 'species'])
def test_the_label_of_parquet_files_comes_first_and_is_a_category(tmp_path, label):
  columns = parquet_columns(names=(), **{label: GLASSES.astype(int)})
  del columns['label']
  parquet_files.write(tmp_path / 'x.parquet', columns)
  asked = label if label == 'species' else ''
  found = source('parquet', tmp_path / 'x.parquet', data__label_column=asked)
  assert found.columns[0] == Column(label, 'category', ('0', '1'))


ATTRIBUTES = [f'Attribute_{number:02d}' for number in range(38)] + ['Male', 'Smiling']


def celeba_flags(count=30):
  return np.random.RandomState(0).rand(count, 40) < 0.5


def write_celeba(folder, flags):
  (folder / 'img_align_celeba').mkdir(parents=True)
  names = [f'{number:06d}.jpg' for number in range(1, len(flags) + 1)]
  for number, name in enumerate(names):
    picture = np.tri(218, 178, number, np.uint8)[..., None].repeat(3, 2) * 200
    Image.fromarray(picture).save(folder / 'img_align_celeba' / name)
  lines = [str(len(flags)), ' '.join(ATTRIBUTES)]
  for name, row in zip(names, flags, strict=True):
    lines.append(' '.join([name, *(f'{2 * flag - 1:2d}' for flag in row.astype(int))]))
  (folder / 'list_attr_celeba.txt').write_text('\n'.join(lines) + '\n')
  splits = [f'{name} {number % 3}' for number, name in enumerate(names)]
  (folder / 'list_eval_partition.txt').write_text('\n'.join(splits) + '\n')
  return folder


def test_attributes_of_celeba_are_flags(tmp_path):
  flags = celeba_flags()
  write_celeba(tmp_path, flags)
  for conditions, names in (
    ('all', ATTRIBUTES),
    ('Smiling,Male', ['Male', 'Smiling']),
    ('slant,Attribute_07', ['Attribute_07']),
  ):
    found = source('celeba', tmp_path, conditions)
    assert found.columns == tuple(Column(name, 'flag') for name in names)
    assert {*found.others} == {*ATTRIBUTES} - {*names}
    numbers = [ATTRIBUTES.index(name) for name in names]
    for number, split in enumerate(('train', 'validation', 'test')):
      paths, _, cells = found.splits[split]
      rows = [int(path.stem) - 1 for path in paths]
      assert sorted(rows) == list(range(number, 30, 3))
      np.testing.assert_array_equal(cells, flags[rows][:, numbers])
  found = source('celeba', tmp_path, 'Smiling:category')
  assert found.columns == (Column('Smiling', 'category', ('False', 'True')),)
  # The class stays what it is where no attribute is a column.
  config_ = config(
    'celeba', tmp_path, 'label,slant', data__label_attribute='Male', data__channels=3
  )
  splits = datasets.load(config_)
  assert splits.train.class_names == ('not Male', 'Male')
  assert [column.name for column in splits.train.columns] == ['label', 'slant']


def test_measures_stand_beside_the_columns_of_files(tmp_path):
  write_arrays(tmp_path / 'a.npz')
  for conditions in ('slant', 'thickness,label', 'label,slant,angle', 'angle:number,glasses'):
    train = datasets.load(config('arrays', tmp_path / 'a.npz', conditions)).train
    assert [f'{column.name}' for column in train.columns] == [
      name.split(':')[0] for name in conditions.split(',')
    ]
    assert train.class_names == (('7', '8', '9') if 'label' in conditions else ())
  np.savez(tmp_path / 'b.npz', images=IMAGES)
  assert datasets.load(config('arrays', tmp_path / 'b.npz', 'slant')).train.columns[0].measured


def test_numbers_are_standardized_and_missing_classes_are_known_as_such(tmp_path):
  digit = np.where(np.arange(COUNT) % 6 == 0, np.nan, DIGIT)
  write_arrays(tmp_path / 'a.npz', labels=digit)
  splits = datasets.load(config('arrays', tmp_path / 'a.npz', 'label,angle'))
  of_image = {
    x.tobytes(): pair for x, pair in zip(IMAGES, zip(digit, ANGLE, strict=True), strict=True)
  }
  for split in splits:
    raw = np.array([of_image[image.tobytes()] for image in split.images])
    column = split.columns[1]
    np.testing.assert_allclose(split.conditions[:, 1] * column.std + column.mean, raw[:, 1], 1e-5)
    np.testing.assert_array_equal(split.labels, np.nan_to_num(raw[:, 0], nan=6) - 7)
  assert splits.train.columns[0].has_empty
  assert abs(np.nanmean(splits.train.conditions[:, 1])) < 1e-6


CSV = ('folder', write_csv)


def npz(**changes):
  return 'arrays', lambda folder: write_arrays(folder / 'a.npz', **changes)


def table(**options):
  return 'folder', lambda folder: write_csv(folder, **options)


def parquet(**changes):
  return 'parquet', lambda folder: parquet_files.write(
    folder / 'x.parquet', parquet_columns(names=(), **changes)
  )


def celeba():
  return 'celeba', lambda folder: write_celeba(folder, celeba_flags())


@pytest.mark.parametrize(
  ('form', 'conditions', 'message'),
  [
    (table(), 'angel', r"no column 'angel'\. It has digit, angle.*slant.*Did you mean 'angle'"),
    (table(), 'digit:number,angel', "'angel'.*Did you mean 'angle'"),
    (table(line_9={'angle': 'x'}), 'all', r"labels\.csv, line 9: 'x' in the column 'angle'"),
    (table(line_9={'angle': 'inf'}), 'angle', r"labels\.csv, line 9: 'inf' .*infinite"),
    (table(line_9={'glasses': 'si'}), 'glasses:flag', r"line 9: 'si' .*no flag"),
    (table(header=('file', 'a', 'b', 'a', 'c')), 'all', "two columns of the name 'a'"),
    (table(header=('0.png', '7', '', 'No', 'red')), 'digit', r'labels\.csv has no header'),
    (table(header=('0.png', '7', '', 'No', 'red')), 'all', r'labels\.csv has no header'),
    (npz(), 'angel', r"no column 'angel'\. It has label, angle.*Did you mean 'angle'"),
    (npz(angle=ANGLE[1:]), 'angle', r"a\.npz: .*train cells of 'angle' have shape \[59\].*\[60\]"),
    (npz(masks=IMAGES), 'masks', r"train cells of 'masks' have shape \[60, 8, 8\]"),
    (npz(train_angle=ANGLE), 'angle', r"a\.npz: angle and train_angle are both .*'angle'"),
    (npz(test_images=IMAGES, test_angle=ANGLE), 'all', r"test images have no 'label'"),
    (npz(angle=np.array([None] * COUNT)), 'angle', 'never unpickled'),
    (npz(angle=ANGLE * np.inf), 'angle', r"Row 1 of the train arrays: '-?inf'"),
    (npz(labels=np.full(COUNT, np.nan)), 'label', r"'label' is empty in all .* training"),
    (npz(colour=np.full(COUNT, '')), 'all', r"'colour' is empty in all .* training"),
    (npz(angle=np.full(COUNT, 0.5)), 'all', r"'angle' has one value only.*0\.5"),
    (npz(code=np.arange(COUNT)), 'label,code:flag', r"Row 2 of the train arrays: '2'.*no flag"),
    (parquet(), 'angel', r"no column 'angel'.*Did you mean 'angle'"),
    (parquet(), 'box', r"x\.parquet: column 'box' is list<"),
    (parquet(angle=[np.inf, *ANGLE[1:]]), 'all', r"x\.parquet, row 0: 'inf' .*infinite"),
    (parquet(colour=['x', *map(str, range(59))]), 'all', r"x\.parquet, row 0: 'x' .*no number"),
    (celeba(), 'Smilling,Male', r"no column 'Smilling'.*Did you mean 'Smiling'"),
  ],
  ids=range(24),
)
def test_what_is_refused(tmp_path, form, conditions, message):
  name, write = form
  place = write(tmp_path / 'data' if name != 'arrays' else tmp_path)
  with pytest.raises(InputError, match=message) as error:
    datasets.load(config(name, place, conditions, data__channels=3 if name == 'celeba' else 1))
  assert '\n' not in str(error.value)
  assert len(str(error.value)) < 900


def test_without_conditions_advice_names_them(tmp_path, capsys):
  write_csv(tmp_path, line_5={'digit': ''})
  with pytest.raises(InputError, match=r'line 5: .*no class.*--config\.data\.conditions=digit'):
    source('folder', tmp_path, '')
  assert "'angle', 'glasses', 'colour'. --config.data.conditions=all" in capsys.readouterr().out
  assert '' in {row[0] for row in texts(source('folder', tmp_path))['train']}


def test_a_table_of_one_column_needs_no_header(tmp_path, capsys):
  write_csv(tmp_path)
  rows = [(f'{number}.png', DIGIT[number] if number % 4 else '') for number in range(COUNT)]
  with open(tmp_path / 'labels.csv', 'w', newline='') as file:
    csv.writer(file).writerows(rows)
  for conditions in ('all', 'label', 'slant,label'):
    found = source('folder', tmp_path, conditions)
    assert found.columns == (Column('label', 'category', ('7', '8', '9')),)
  assert "called 'label'" in capsys.readouterr().out
  with pytest.raises(InputError, match=r"no column 'digit'\. It has label"):
    datasets.load(config('folder', tmp_path, 'digit'))


def test_equal_rows_of_a_picture_are_one(tmp_path):
  write_csv(tmp_path)
  with open(tmp_path / 'labels.csv', 'a') as file:
    file.write('1.png,8,0.5,No,green\n')
  assert len(source('folder', tmp_path, 'digit').splits['train'].cells) == COUNT
  with pytest.raises(InputError, match=r'1 picture\(s\) .*1\.png'):
    source('folder', tmp_path, 'angle')


def test_class_folders_and_measures(tmp_path):
  for number, image in enumerate(IMAGES):
    path = tmp_path / f'{"ab"[number % 2]}' / f'{number}.png'
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
  train = datasets.load(config('folder', tmp_path, 'slant,label')).train
  assert [column.kind for column in train.columns] == ['number', 'category']
  assert train.class_names == ('a', 'b')
