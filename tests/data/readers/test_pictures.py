"""Many pictures, whole and broken, decoded with and without the cache."""

import os
import resource
import sys
import time

import numpy as np
import pytest
from PIL import Image

from cvae_jax.data.readers import decoding, file_rows, pictures
from cvae_jax.data.readers.decoding import Geometry
from cvae_jax.runtime.errors import InputError
from made_data import save_picture, write_png

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (6, 6), np.uint8)
NOISE = RANDOM.randint(0, 256, (50, 50), np.uint8)


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
  home = tmp_path_factory.mktemp('cache')
  monkeypatch.setenv('XDG_CACHE_HOME', str(home))
  return home


def cached(home):
  return sorted(home.glob('cvae_jax/pictures/*'))


@pytest.fixture
def two_pictures(tmp_path):
  return [save_picture(tmp_path / 'a.png', GREY), save_picture(tmp_path / 'b.png', 255 - GREY)]


def decode(paths, size=6, crop_size=0, channels=1, cache=False, skip_broken=False, **changes):
  geometry = Geometry(size, size, crop_size, channels, **changes)
  return pictures.decode(paths, geometry, cache, skip_broken)


def test_many_threads_keep_the_order(tmp_path, monkeypatch):
  monkeypatch.setattr(pictures, 'PARALLEL_FILE_BYTES', 0)
  monkeypatch.setattr(os, 'cpu_count', lambda: 8)
  paths = [
    save_picture(tmp_path / f'{row}.png', np.full((4 + row % 30, 4), row % 256, np.uint8))
    for row in range(400)
  ]
  for cache in (False, True, True):
    images, readable = decode(paths, size=4, cache=cache)
    assert (images == (np.arange(400) % 256).reshape(-1, 1, 1, 1)).all()
    assert readable.all()


def test_pictures_of_one_name_and_many_sizes_are_all_decoded(tmp_path):
  paths = [
    save_picture(tmp_path / 'a' / 'x.png', np.full((10, 10), 10, np.uint8)),
    save_picture(tmp_path / 'b' / 'x.png', np.full((20, 40), 20, np.uint8)),
    save_picture(tmp_path / 'b' / 'x.jpg', np.full((7, 9), 30, np.uint8)),
  ]
  images, _ = decode(paths, size=8)
  assert images.mean((1, 2, 3)).round().tolist() == [10, 20, 30]


def test_no_pictures_give_an_empty_array():
  for cache in (False, True, True):
    images, readable = decode([], cache=cache)
    assert images.shape == (0, 6, 6, 1)
    assert readable.shape == (0,)


def make_broken(folder):
  """Writes whole.png and whole.jpg, and broken files: their paths, and words of the reasons."""
  whole = save_picture(folder / 'whole.png', NOISE).read_bytes()
  halves = {}
  for suffix in ('jpg', 'webp'):
    content = save_picture(folder / f'whole.{suffix}', NOISE).read_bytes()
    halves[f'truncated.{suffix}'] = content[: len(content) // 2]
  contents = {
    'truncated.png': whole[:900],
    'header.png': whole[:20],
    'crc.png': whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
    **halves,
    'empty.png': b'',
    'text.jpg': b'<html>404</html>',
  }
  for name, content in contents.items():
    (folder / name).write_bytes(content)
  for name, side in {'large.png': 10_000, 'huge.png': 60_000, 'nothing.png': 0}.items():
    write_png(folder / name, side, side, 8, 0, [b'\0'] if side else [])
  Image.open(folder / 'whole.png').save(folder / 'ppm.png', format='ppm')
  reasons = {
    'truncated.png': 'truncated',
    'header.png': 'Truncated',
    'crc.png': 'broken',
    **dict.fromkeys(halves, ''),
    'empty.png': 'empty',
    'text.jpg': 'PNG',
    **dict.fromkeys(('large.png', 'huge.png'), '89,478,485'),
    **dict.fromkeys(('nothing.png', 'ppm.png'), 'PNG'),
  }
  return {folder / name: reason for name, reason in reasons.items()}


def make_unreachable(folder):
  (folder / 'folder.png').mkdir()
  os.mkfifo(folder / 'pipe.png')
  (folder / 'dangling.png').symlink_to('nowhere')
  return {
    folder / 'folder.png': 'no file',
    folder / 'pipe.png': 'no file',
    folder / 'dangling.png': 'No such file',
    folder / 'vanished.png': 'No such file',
  }


def test_each_broken_file_is_named_with_its_reason(tmp_path):
  for path, reason in {**make_broken(tmp_path), **make_unreachable(tmp_path)}.items():
    with pytest.raises(InputError) as error:
      decode([tmp_path / 'whole.png', path, tmp_path / 'whole.jpg'])
    message = str(error.value)
    assert message.startswith(str(path))
    assert reason in message
    assert '--config.data.skip_broken=True' in message
    assert 'of the 3 pictures' not in message  # it alone is broken
    assert len(message) < 300 + len(str(path))


def test_a_file_without_permission_is_named(tmp_path):
  path = save_picture(tmp_path / 'x.png', GREY)
  path.chmod(0)
  tmp_path.chmod(0o711)
  Image.init()
  user = os.geteuid()
  try:
    if user == 0:
      os.seteuid(65534)  # root may read anything
    with pytest.raises(InputError, match=r'x\.png.*Permission denied'):
      decode([path])
  finally:
    os.seteuid(user)


@pytest.mark.parametrize('cache', [False, True])
def test_all_files_are_tried_and_the_first_broken_one_is_named(tmp_path, cache):
  broken = {**make_broken(tmp_path), **(make_unreachable(tmp_path) if not cache else {})}
  paths = [tmp_path / 'whole.png', *broken, tmp_path / 'whole.jpg']
  messages = []
  for _ in range(2):
    with pytest.raises(InputError) as error:
      decode(paths, cache=cache)
    messages.append(str(error.value))
  assert messages[0] == messages[1]
  assert messages[0].startswith(str(paths[1]))
  assert f'{len(broken) - 1} more of the {len(paths)} pictures' in messages[0]


@pytest.mark.parametrize('cache', [False, True])
def test_broken_files_are_skipped_and_listed(tmp_path, capsys, cache):
  broken = make_broken(tmp_path)
  paths = [tmp_path / 'whole.png', *broken, tmp_path / 'whole.png']
  for _ in range(2):
    images, readable = decode(paths, cache=cache, skip_broken=True)
    assert readable.tolist() == [True, *[False] * len(broken), True]
    np.testing.assert_array_equal(images[0], images[-1])
    assert images[0].any()
    assert not images[1:-1].any()
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if not line.startswith('decoding')]
    assert f'{len(broken)} of {len(paths)} pictures' in lines[0]
    assert [line.split(':')[0].strip() for line in lines[1:]] == [str(path) for path in broken]
  if cache:
    with pytest.raises(InputError, match=r'truncated\.png'):
      decode(paths, cache=True)


def test_a_long_list_is_cut(tmp_path, capsys):
  paths = [tmp_path / f'{row}.png' for row in range(25)]
  for path in paths:
    path.touch()
  decode([*paths, save_picture(tmp_path / 'x.png', GREY)], skip_broken=True)
  lines = capsys.readouterr().out.splitlines()
  assert '25 of 26 pictures' in lines[1]
  assert len(lines) == 23
  assert '5 more' in lines[-1]


def test_the_second_time_nothing_is_decoded(two_pictures, cache_home, capsys, monkeypatch):
  def no_decoding(*_, **__):
    raise AssertionError('decoded')

  plain, _ = decode(two_pictures)
  assert cached(cache_home) == []
  first, _ = decode(two_pictures, cache=True)
  assert len(cached(cache_home)) == 1
  assert capsys.readouterr().out.count('decoding 2 pictures') == 2
  monkeypatch.setattr(decoding, 'read', no_decoding)
  renamed = [path.rename(path.with_stem(f'new_{path.stem}')) for path in two_pictures]
  os.utime(renamed[0], (0, 0))
  second, readable = decode(renamed, cache=True)
  for images in (first, second):
    np.testing.assert_array_equal(images, plain)
    assert type(images) is np.ndarray
    with pytest.raises(ValueError, match='read-only'):
      images[0] = 0
  assert readable.all()
  assert capsys.readouterr().out == ''


def test_other_content_order_or_size_is_decoded_again(two_pictures, cache_home):
  decode(two_pictures, cache=True)
  before = two_pictures[0].stat()
  swapped, _ = decode(two_pictures[::-1], cache=True)
  np.testing.assert_array_equal(swapped[0, ..., 0], 255 - GREY)
  decode(two_pictures, size=5, cache=True)
  decode(two_pictures, crop_size=4, cache=True)
  decode(two_pictures, channels=3, cache=True)
  decode(two_pictures[:1], cache=True)
  decode(two_pictures, cache=True, fit='pad')
  decode(two_pictures, cache=True, fit='stretch')
  decode(two_pictures, cache=True, bit_depth=12)
  assert len(cached(cache_home)) == 9
  content = bytearray(two_pictures[0].read_bytes())
  content[-20:-16] = b'\0\0\0\0'  # same length and times; the last bytes of the data, or their sum
  two_pictures[0].write_bytes(content)
  os.utime(two_pictures[0], ns=(before.st_atime_ns, before.st_mtime_ns))
  with pytest.raises(InputError, match=r'a\.png'):
    decode(two_pictures, cache=True)


@pytest.mark.parametrize(
  'damage',
  [
    lambda content: b'',
    lambda content: content[:100],
    lambda content: content[:-1],
    lambda content: b'PK\x03\x04' + content[4:],
    lambda content: content.replace(b"'|u1'", b"'|i1'"),
    lambda content: content.replace(b'(2,)', b'(1,)'),
    lambda content: content.replace(b'(2,)', b'2,,,'),
    lambda content: content.replace(b"'descr': [", b"'descr': 9"),
    lambda content: content[:8] + b'\xff\xff' + content[10:],
    lambda content: content[:6] + b'\x07\x07' + content[8:],
  ],
)
def test_a_damaged_cache_is_replaced(two_pictures, cache_home, damage, capsys):
  expected, _ = decode(two_pictures, cache=True)
  expected = expected.copy()
  (file,) = cached(cache_home)
  whole = file.read_bytes()
  assert damage(whole) != whole
  file.unlink()
  file.write_bytes(damage(whole))
  capsys.readouterr()
  images, _ = decode(two_pictures, cache=True)
  np.testing.assert_array_equal(images, expected)
  assert cached(cache_home) == [file]
  assert file.read_bytes() == whole
  assert 'decoding 2 pictures' in capsys.readouterr().out


def test_pictures_are_decoded_where_no_cache_can_be_written(two_pictures, monkeypatch, capsys):
  monkeypatch.setenv('XDG_CACHE_HOME', str(two_pictures[0]))
  images, _ = decode(two_pictures, cache=True)
  np.testing.assert_array_equal(images[0, ..., 0], GREY)
  last_line = capsys.readouterr().out.splitlines()[-1]
  assert str(two_pictures[0]) in last_line
  assert 'Not a directory' in last_line


def test_a_full_disk_leaves_nothing_behind(two_pictures, cache_home, capsys):
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    images, _ = decode(two_pictures, size=300, cache=True)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert images.shape == (2, 300, 300, 1)
  assert images.any()
  assert str(cache_home) in capsys.readouterr().out
  assert cached(cache_home) == []


def test_files_of_stopped_processes_are_removed(two_pictures, cache_home):
  folder = cache_home / 'cvae_jax' / 'pictures'
  folder.mkdir(parents=True)
  for name, age_hours in {'old.tmp': 48, '.old.npy.7.tmp': 48, 'new.tmp': 0}.items():
    (folder / name).touch()
    os.utime(folder / name, (0, time.time() - age_hours * 3600))
  decode(two_pictures, cache=True)
  assert [path.suffix for path in cached(cache_home)] == ['.npy', '.tmp']
  assert (folder / 'new.tmp').exists()


def test_missing_files_are_not_cached_as_broken(two_pictures, cache_home):
  path = two_pictures[0].rename(two_pictures[0].with_name('away.png'))
  _, readable = decode(two_pictures, cache=True, skip_broken=True)
  assert readable.tolist() == [False, True]
  assert cached(cache_home) == []
  path.rename(two_pictures[0])
  assert decode(two_pictures, cache=True, skip_broken=True)[1].all()


@pytest.mark.parametrize('large', [False, True])
def test_a_failure_of_the_system_is_not_cached(two_pictures, cache_home, monkeypatch, large):
  if large:
    monkeypatch.setattr(file_rows, 'MAX_IN_MEMORY', 0)

  # Running out of memory for real would risk the machine.
  def fail(path, **_):
    raise MemoryError

  monkeypatch.setattr(decoding, 'read', fail)
  with pytest.raises(InputError, match=r'a\.png.*memory'):
    decode(two_pictures, cache=True)
  assert cached(cache_home) == []


class Many(list):
  """More paths than any machine has files."""

  def __len__(self):
    return 10**9


def test_more_pictures_than_memory_holds(two_pictures):
  with pytest.raises(InputError, match=r'GiB of memory.*config.data.image_size'):
    decode(Many(two_pictures), size=20_000)


def test_a_progress_bar_on_a_terminal(two_pictures, monkeypatch, capsys):
  monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
  monkeypatch.setenv('TERM', 'xterm')
  decode(two_pictures)
  shown = capsys.readouterr().out
  assert '2/2 pictures' in shown
  assert 'decoding 2 pictures ...' not in shown


@pytest.mark.parametrize('cache', [False, True])
@pytest.mark.parametrize(
  ('values', 'depth'),
  [([4095, 300], 12), ([1000, 1023], 10), ([255, 3], 8), ([9000, 1], 14), ([40_000, 4095], None)],
)
def test_files_that_use_few_of_sixteen_bits_are_noticed(tmp_path, capsys, cache, values, depth):
  paths = [
    save_picture(tmp_path / f'{value}.png', np.full((6, 6), value, np.uint16)) for value in values
  ]
  paths.append(save_picture(tmp_path / 'usual.png', GREY))
  for _ in range(2):
    decode(paths, cache=cache)
    shown = capsys.readouterr().out
    assert ('--config.data.bit_depth=' in shown) == (depth is not None)
    if depth:
      assert f'bit_depth={depth} ' in shown
      assert f'{max(values):,}' in shown
      assert shown.count('2 picture(s) of 16 bits') == 1
  if depth:
    images, _ = decode(paths, cache=cache, bit_depth=depth)
    assert 'bit_depth' not in capsys.readouterr().out
    np.testing.assert_allclose(images[0], round(values[0] * 255 / (2**depth - 1)), atol=0)
    np.testing.assert_array_equal(images[2, ..., 0], GREY)  # which has 8 bits


def test_further_frames_and_pages_are_noticed(tmp_path, capsys):
  first, second = (Image.fromarray(np.full((6, 6), value, np.uint8)) for value in (40, 200))
  paths = []
  for suffix in ('gif', 'tif', 'webp', 'png'):
    first.save(tmp_path / f'one.{suffix}')
    paths += [tmp_path / f'one.{suffix}', tmp_path / f'two.{suffix}']
    first.save(paths[-1], save_all=True, append_images=[second])
  first.save(tmp_path / 'camera.jpg', format='MPO', save_all=True, append_images=[second])
  images, _ = decode([*paths, tmp_path / 'camera.jpg'])
  np.testing.assert_allclose(images, 40, atol=1)
  shown = capsys.readouterr().out
  assert '4 of 9 pictures' in shown
  assert str(tmp_path / 'two.gif') in shown


def test_names_that_are_no_utf8_are_printed(tmp_path, capsys):
  folder = os.fsencode(tmp_path) + b'/caf\xe9'
  os.mkdir(folder)
  for name in (b'\xff.png', b'\x1b.png'):
    with open(folder + b'/' + name, 'wb'):
      pass
  paths = sorted((tmp_path / os.fsdecode(b'caf\xe9')).iterdir())
  with pytest.raises(InputError, match=r'caf\\xe9/\\x1b\.png'):
    decode(paths)
  decode([*paths, save_picture(tmp_path / 'x.png', GREY)], skip_broken=True)
  shown = capsys.readouterr().out
  assert r'caf\xe9/\xff.png' in shown
  shown.encode()
