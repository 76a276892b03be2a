"""Pictures of every kind, whole and broken, decoded with and without the cache."""

import os
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from cvae_jax.data.readers import pictures
from cvae_jax.runtime.errors import InputError

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (6, 6), np.uint8)
RGB = RANDOM.randint(0, 256, (6, 6, 3), np.uint8)


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
  home = tmp_path_factory.mktemp('cache')
  monkeypatch.setenv('XDG_CACHE_HOME', str(home))
  for name in ('FORCE_COLOR', 'TTY_COMPATIBLE'):  # would make a terminal of the captured output
    monkeypatch.delenv(name, raising=False)
  return home


def decode(paths, size=6, crop_size=0, channels=1, cache=False, skip_broken=False):
  return pictures.decode(paths, size, crop_size, channels, cache, skip_broken)


def save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(array).save(path, **options)
  return path


def png(path, width, height, bits, colour_type, lines, *chunks):
  """Writes a PNG by hand: what Pillow cannot write."""

  def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

  path.write_bytes(
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', struct.pack('>2I5B', width, height, bits, colour_type, 0, 0, 0))
    + b''.join(chunk(*pair) for pair in chunks)
    + chunk(b'IDAT', zlib.compress(b''.join(b'\0' + line for line in lines)))
    + chunk(b'IEND', b'')
  )
  return path


def luma(rgb):
  """ITU-R 601, as Pillow documents its mode L."""
  return (rgb @ np.array([299, 587, 114])) / 1000


@pytest.mark.parametrize('suffix', ['png', 'webp'])
def test_grey_and_rgb_come_back_exactly(tmp_path, suffix):
  options = {'lossless': True} if suffix == 'webp' else {}
  path = save(tmp_path / f'x.{suffix}', RGB, **options)
  images, readable = decode([path], channels=3)
  np.testing.assert_array_equal(images[0], RGB)
  assert readable.tolist() == [True]
  assert images.dtype == np.uint8
  grey, _ = decode([path])
  assert grey.shape == (1, 6, 6, 1)
  np.testing.assert_allclose(grey[0, ..., 0], luma(RGB), atol=1)
  equal = save(tmp_path / 'grey.png', GREY)
  np.testing.assert_array_equal(decode([equal])[0][0, ..., 0], GREY)
  np.testing.assert_array_equal(decode([equal], channels=3)[0][0], np.stack([GREY] * 3, -1))


def test_jpeg_grey_rgb_and_cmyk(tmp_path):
  colour = np.full((8, 8, 3), (200, 100, 50), np.uint8)
  Image.fromarray(colour).convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=100)
  save(tmp_path / 'rgb.jpeg', colour, quality=100)
  images, _ = decode([tmp_path / 'cmyk.jpg', tmp_path / 'rgb.jpeg'], size=8, channels=3)
  np.testing.assert_allclose(images, np.broadcast_to(colour, (2, 8, 8, 3)), atol=3)
  grey = save(tmp_path / 'grey.jpg', np.full((8, 8), 77, np.uint8))
  np.testing.assert_allclose(decode([grey], size=8, channels=3)[0], 77, atol=1)


def test_palettes_and_single_bits(tmp_path):
  palette = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6) % 4)
  palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
  palette.save(tmp_path / 'p.png')
  images, _ = decode([tmp_path / 'p.png'], channels=3)
  assert images[0, 0, :4].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]]
  np.testing.assert_allclose(
    decode([tmp_path / 'p.png'])[0][0, 0, :4, 0], luma(images[0, 0, :4]), atol=1
  )
  bits = GREY > 99
  Image.fromarray(bits).save(tmp_path / 'bits.png')
  np.testing.assert_array_equal(decode([tmp_path / 'bits.png'])[0][0, ..., 0], bits * 255)


@pytest.mark.parametrize('channels', [1, 3])
def test_transparency_lies_over_white(tmp_path, channels):
  alpha = RANDOM.randint(0, 256, (6, 6, 1), np.uint8)
  alpha[0] = 0
  on_white = (RGB * (alpha / 255)) + 255 * (1 - alpha / 255)
  grey_on_white = (GREY[..., None] * (alpha / 255)) + 255 * (1 - alpha / 255)
  rgba = save(tmp_path / 'rgba.png', np.concatenate([RGB, alpha], -1))
  webp = tmp_path / 'rgba.webp'
  Image.open(rgba).save(webp, lossless=True, exact=True)
  la = tmp_path / 'la.png'
  Image.merge('LA', [Image.fromarray(GREY), Image.fromarray(alpha[..., 0])]).save(la)
  images, _ = decode([rgba, webp, la], channels=channels)
  expected = on_white if channels == 3 else luma(on_white)[..., None]
  np.testing.assert_allclose(images[0], expected, atol=2)
  np.testing.assert_array_equal(images[1], images[0])
  np.testing.assert_allclose(images[2], np.broadcast_to(grey_on_white, images[2].shape), atol=1)
  assert (images[:, 0] == 255).all()


def test_transparent_colours_lie_over_white(tmp_path):
  palette = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6) % 4)
  palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 8, 7])
  palette.save(tmp_path / 'index.png', transparency=1)
  palette.save(tmp_path / 'table.png', transparency=bytes([0, 255, 51, 255]))
  images, _ = decode([tmp_path / 'index.png', tmp_path / 'table.png'], channels=3)
  assert images[0, 0, :3].tolist() == [[200, 0, 0], [255, 255, 255], [0, 0, 200]]
  assert images[1, 0, :3].tolist() == [[255, 255, 255], [0, 200, 0], [204, 204, 244]]


def key(*values):
  return b'tRNS', struct.pack(f'>{len(values)}H', *values)


@pytest.mark.parametrize(
  ('bits', 'line', 'transparent', 'expected'),
  [
    (1, bytes([0b01000000]), 0, [255, 255]),
    (1, bytes([0b01000000]), 1, [0, 255]),
    (2, bytes([0b01100000]), 1, [255, 170]),
    (4, bytes([0x35]), 3, [255, 85]),
    (8, bytes([3, 5]), 3, [255, 5]),
    (16, struct.pack('>2H', 300, 301), 300, [255, 1]),
  ],
)
def test_a_transparent_grey_of_any_depth(tmp_path, bits, line, transparent, expected):
  path = png(tmp_path / 'x.png', 2, 2, bits, 0, [line, line], key(transparent))
  assert decode([path], size=2)[0][0, ..., 0].tolist() == [expected, expected]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
  values = np.array([[0, 128, 129, 257], [1000, 32768, 65406, 65535]] * 2, np.uint16)
  save(tmp_path / 'native.png', values)
  png(tmp_path / 'hand.png', 4, 4, 16, 0, [line.astype('>u2').tobytes() for line in values])
  images, _ = decode([tmp_path / 'native.png', tmp_path / 'hand.png'], size=4)
  np.testing.assert_array_equal(images[0, ..., 0], np.round(values / 257))
  np.testing.assert_array_equal(images[1], images[0])
  colours = RANDOM.randint(0, 2**16, (4, 4, 3)).astype('>u2')
  lines = [line.tobytes() for line in colours]
  path = png(tmp_path / 'rgb.png', 4, 4, 16, 2, lines)
  np.testing.assert_allclose(decode([path], size=4, channels=3)[0][0], colours / 257, atol=1)
  keyed = png(tmp_path / 'keyed.png', 4, 4, 16, 2, lines, key(*colours[1, 2].tolist()))
  images, _ = decode([path, keyed], size=4, channels=3)
  assert (images[1, 1, 2] == 255).all()
  assert (images[0] != images[1]).any(-1).sum() == 1
  alpha = np.concatenate([colours, np.full((4, 4, 1), 0, '>u2')], -1)
  path = png(tmp_path / 'rgba.png', 4, 4, 16, 6, [line.tobytes() for line in alpha])
  assert (decode([path], size=4, channels=3)[0] == 255).all()


@pytest.mark.parametrize('suffix', ['png', 'webp'])
def test_of_an_animation_the_first_frame(tmp_path, suffix):
  first, second = (Image.fromarray(np.full((6, 6, 3), value, np.uint8)) for value in (40, 200))
  path = tmp_path / f'x.{suffix}'
  first.save(path, save_all=True, append_images=[second], lossless=True)
  assert (decode([path], channels=3)[0] == 40).all()


UPRIGHT = RANDOM.randint(0, 256, (6, 10, 3), np.uint8)
ORIENTED = {
  1: UPRIGHT,
  2: UPRIGHT[:, ::-1],
  3: np.rot90(UPRIGHT, 2),
  4: UPRIGHT[::-1],
  5: UPRIGHT.swapaxes(0, 1),
  6: np.rot90(UPRIGHT, 1),
  7: np.rot90(UPRIGHT, 2).swapaxes(0, 1),
  8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize('orientation', ORIENTED)
@pytest.mark.parametrize('suffix', ['png', 'webp', 'jpg'])
def test_pictures_are_turned_upright(tmp_path, orientation, suffix):
  exif = Image.Exif()
  exif[0x0112] = orientation
  options = {'quality': 100, 'subsampling': 0} if suffix == 'jpg' else {'lossless': True}
  stored = np.ascontiguousarray(ORIENTED[orientation])
  path = save(tmp_path / f'x.{suffix}', stored, exif=exif, **options)
  images, _ = decode([path], channels=3)
  np.testing.assert_allclose(images[0], UPRIGHT[:, 2:8], atol=4 if suffix == 'jpg' else 0)


def test_broken_exif_does_not_break_a_picture(tmp_path):
  path = save(tmp_path / 'x.png', GREY, exif=b'Exif\0\0MM\0\x2a\xff\xff\xff\xff')
  garbled = save(tmp_path / 'y.png', GREY, exif=b'Exif\0\0garbage')
  images, _ = decode([path, garbled])
  np.testing.assert_array_equal(images[..., 0], np.stack([GREY] * 2))


def test_the_centre_is_cut_out_and_resized(tmp_path):
  array = RANDOM.randint(0, 256, (21, 40, 3), np.uint8)
  path = save(tmp_path / 'x.png', array)
  wide = array[:, 9:30]

  def check(size, crop_size, square):
    image = decode([path], size, crop_size, channels=3)[0][0]
    picture = Image.fromarray(np.ascontiguousarray(square))
    expected = picture.resize((size, size), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(image, np.asarray(expected))

  check(21, 0, wide)
  check(8, 0, wide)
  check(50, 0, wide)
  check(8, 8, array[6:14, 16:24])
  check(5, 8, array[6:14, 16:24])
  check(8, 22, wide)
  check(8, 1000, wide)


def test_shrinking_averages_and_keeps_constants():
  checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[None, ..., None]
  np.testing.assert_allclose(pictures.fit(checks, 8, 0), 127.5, atol=8)
  assert (pictures.fit(np.full((2, 9, 7, 3), 93, np.uint8), 16, 0) == 93).all()


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(('size', 'crop_size'), [(8, 0), (8, 8), (8, 9), (12, 11), (11, 99)])
def test_arrays_are_fitted_like_pictures(tmp_path, channels, size, crop_size):
  arrays = RANDOM.randint(0, 256, (3, 11, 15, channels), np.uint8)
  squeezed = arrays[..., 0] if channels == 1 else arrays
  paths = [save(tmp_path / f'{row}.png', array) for row, array in enumerate(squeezed)]
  images, _ = decode(paths, size, crop_size, channels)
  np.testing.assert_array_equal(pictures.fit(arrays, size, crop_size), images)


def test_fit_leaves_alone_what_fits():
  arrays = RANDOM.randint(0, 256, (3, 8, 8, 1), np.uint8)
  assert pictures.fit(arrays, 8, 0) is arrays
  assert pictures.fit(arrays, 8, 8) is arrays
  assert pictures.fit(arrays[:0], 5, 0).shape == (0, 5, 5, 1)
  np.testing.assert_array_equal(pictures.fit(arrays, 4, 4), arrays[:, 2:6, 2:6])


def test_order_is_kept_over_many_threads(tmp_path, monkeypatch):
  monkeypatch.setattr(pictures, 'PARALLEL_FILE_BYTES', 0)
  monkeypatch.setattr(os, 'cpu_count', lambda: 8)
  paths = [
    save(tmp_path / f'{row}.png', np.full((4 + row % 30, 4), row % 256, np.uint8))
    for row in range(400)
  ]
  for cache in (False, True, True):
    images, readable = decode(paths, size=4, cache=cache)
    assert (images == (np.arange(400) % 256).reshape(-1, 1, 1, 1)).all()
    assert readable.all()


def test_equal_names_of_other_sizes_and_kinds_are_all_read(tmp_path):
  paths = [
    save(tmp_path / 'a' / 'x.png', np.full((10, 10), 10, np.uint8)),
    save(tmp_path / 'b' / 'x.png', np.full((20, 40), 20, np.uint8)),
    save(tmp_path / 'b' / 'x.jpg', np.full((7, 9), 30, np.uint8)),
  ]
  images, _ = decode(paths, size=8)
  assert images.mean((1, 2, 3)).round().tolist() == [10, 20, 30]


def test_no_pictures_are_an_empty_array():
  for cache in (False, True, True):
    images, readable = decode([], cache=cache)
    assert images.shape == (0, 6, 6, 1)
    assert readable.shape == (0,)


def make_broken(folder):
  """Files that cannot be read, with words that the reason must hold."""
  whole = save(folder / 'whole.png', RANDOM.randint(0, 256, (50, 50), np.uint8)).read_bytes()
  Image.open(folder / 'whole.png').save(folder / 'whole.jpg')
  Image.open(folder / 'whole.png').save(folder / 'whole.webp')
  broken = {}

  def add(name, reason, content=None):
    broken[folder / name] = reason
    if content is not None:
      (folder / name).write_bytes(content)

  add('truncated.png', 'truncated', whole[:900])
  add('header.png', 'Truncated', whole[:20])
  add('crc.png', 'broken', whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
  for suffix in ('jpg', 'webp'):
    content = (folder / f'whole.{suffix}').read_bytes()
    add(f'truncated.{suffix}', '', content[: len(content) // 2])
  add('empty.png', 'it is empty', b'')
  add('text.jpg', 'no PNG, JPEG or WEBP', b'<html>404</html>')
  add('large.png', 'more than 89,478,485 pixels')
  png(folder / 'large.png', 10_000, 10_000, 8, 0, [b'\0'])
  add('huge.png', 'more than 89,478,485 pixels')
  png(folder / 'huge.png', 60_000, 60_000, 8, 0, [b'\0'])
  add('nothing.png', 'no PNG')
  png(folder / 'nothing.png', 0, 0, 8, 0, [])
  Image.open(folder / 'whole.png').save(folder / 'gif.png', format='gif')
  add('gif.png', 'no PNG, JPEG or WEBP')
  return broken


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
    assert message.startswith(f'{path} cannot be read (')
    assert reason in message
    assert '--config.data.skip_broken=True' in message
    assert 'neither' not in message
    assert len(message) < 300 + len(str(path))


def test_a_file_that_may_not_be_read(tmp_path):
  path = save(tmp_path / 'x.png', GREY)
  path.chmod(0)
  tmp_path.chmod(0o711)
  Image.init()
  user = os.geteuid()
  try:
    if user == 0:
      os.seteuid(65534)  # root may read anything
    with pytest.raises(InputError, match='Permission denied'):
      decode([path])
  finally:
    os.seteuid(user)


@pytest.mark.parametrize('cache', [False, True])
def test_all_are_tried_and_the_first_is_named(tmp_path, cache):
  broken = {**make_broken(tmp_path), **(make_unreachable(tmp_path) if not cache else {})}
  paths = [tmp_path / 'whole.png', *broken, tmp_path / 'whole.jpg']
  messages = []
  for _ in range(2):
    with pytest.raises(InputError) as error:
      decode(paths, cache=cache)
    messages.append(str(error.value))
  assert messages[0] == messages[1]
  assert messages[0].startswith(str(paths[1]))
  assert f'neither can {len(broken) - 1} more of the {len(paths)} pictures.' in messages[0]


@pytest.mark.parametrize('cache', [False, True])
def test_broken_files_are_left_out_and_listed(tmp_path, capsys, cache):
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
    assert lines[0] == (f'{len(broken)} of {len(paths)} pictures cannot be read and are left out:')
    assert [line.split(':')[0].strip() for line in lines[1:]] == [str(path) for path in broken]
  if cache:
    with pytest.raises(InputError, match=r'truncated\.png cannot be read \(image file is trunc'):
      decode(paths, cache=True)


def test_a_long_list_is_cut(tmp_path, capsys):
  paths = [tmp_path / f'{row}.png' for row in range(25)]
  for path in paths:
    path.touch()
  decode([*paths, save(tmp_path / 'x.png', GREY)], skip_broken=True)
  lines = capsys.readouterr().out.splitlines()
  assert lines[1] == '25 of 26 pictures cannot be read and are left out:'
  assert len(lines) == 23
  assert lines[-1] == '  and 5 more'


def no_decoding(*_, **__):
  raise AssertionError('decoded')


@pytest.fixture
def two_pictures(tmp_path):
  return [save(tmp_path / 'a.png', GREY), save(tmp_path / 'b.png', 255 - GREY)]


def cached(home):
  return sorted(home.glob('cvae_jax/pictures/*'))


def test_the_second_time_nothing_is_decoded(two_pictures, cache_home, capsys, monkeypatch):
  plain, _ = decode(two_pictures)
  assert cached(cache_home) == []
  first, _ = decode(two_pictures, cache=True)
  assert len(cached(cache_home)) == 1
  assert capsys.readouterr().out == 'decoding 2 pictures ...\n' * 2
  monkeypatch.setattr(pictures, '_read_picture', no_decoding)
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


def test_other_content_order_or_geometry_is_decoded_again(two_pictures, cache_home):
  decode(two_pictures, cache=True)
  before = two_pictures[0].stat()
  swapped, _ = decode(two_pictures[::-1], cache=True)
  np.testing.assert_array_equal(swapped[0, ..., 0], 255 - GREY)
  decode(two_pictures, size=5, cache=True)
  decode(two_pictures, crop_size=4, cache=True)
  decode(two_pictures, channels=3, cache=True)
  decode(two_pictures[:1], cache=True)
  assert len(cached(cache_home)) == 6
  content = bytearray(two_pictures[0].read_bytes())
  content[-20:-16] = b'\0\0\0\0'  # same length and times; the last bytes of the data, or their sum
  two_pictures[0].write_bytes(content)
  os.utime(two_pictures[0], ns=(before.st_atime_ns, before.st_mtime_ns))
  with pytest.raises(InputError, match=r'a\.png cannot be read'):
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
def test_a_damaged_cache_is_made_again(two_pictures, cache_home, damage, capsys):
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
  assert capsys.readouterr().out == 'decoding 2 pictures ...\n'


def test_a_cache_that_cannot_be_written_is_done_without(two_pictures, monkeypatch, capsys):
  monkeypatch.setenv('XDG_CACHE_HOME', str(two_pictures[0]))
  images, _ = decode(two_pictures, cache=True)
  np.testing.assert_array_equal(images[0, ..., 0], GREY)
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2
  assert lines[1].endswith('(Not a directory): the next start decodes them again.')


def test_a_full_disk_leaves_nothing_behind(two_pictures, cache_home, capsys):
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    images, _ = decode(two_pictures, size=300, cache=True)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert images.shape == (2, 300, 300, 1)
  assert images.any()
  assert 'cannot be kept in' in capsys.readouterr().out
  assert cached(cache_home) == []


def test_left_overs_of_stopped_processes_go(two_pictures, cache_home):
  folder = cache_home / 'cvae_jax' / 'pictures'
  folder.mkdir(parents=True)
  (folder / 'old.tmp').touch()
  os.utime(folder / 'old.tmp', (0, time.time() - 48 * 3600))
  (folder / 'new.tmp').touch()
  decode(two_pictures, cache=True)
  assert [path.suffix for path in cached(cache_home)] == ['.npy', '.tmp']
  assert (folder / 'new.tmp').exists()


def test_files_out_of_reach_are_not_remembered_as_broken(two_pictures, cache_home):
  path = two_pictures[0].rename(two_pictures[0].with_name('away.png'))
  _, readable = decode(two_pictures, cache=True, skip_broken=True)
  assert readable.tolist() == [False, True]
  assert cached(cache_home) == []
  path.rename(two_pictures[0])
  assert decode(two_pictures, cache=True, skip_broken=True)[1].all()


def test_a_failure_of_the_system_is_not_remembered(two_pictures, cache_home, monkeypatch):
  # Running out of memory for one picture cannot be had for real without risking the machine.
  def fail(path, **_):
    raise MemoryError

  monkeypatch.setattr(pictures, '_read_picture', fail)
  with pytest.raises(InputError, match='not enough memory'):
    decode(two_pictures, cache=True)
  assert cached(cache_home) == []


class Many(list):
  """More paths than any machine has files."""

  def __len__(self):
    return 10**9


def test_more_than_memory_holds_is_said(two_pictures):
  with pytest.raises(InputError, match=r'GiB of memory.*config.data.image_size'):
    decode(Many(two_pictures), size=20_000)


def test_a_bar_on_a_terminal(two_pictures, monkeypatch, capsys):
  monkeypatch.setenv('FORCE_COLOR', '1')
  decode(two_pictures)
  shown = capsys.readouterr().out
  assert '2/2 pictures' in shown
  assert 'decoding 2 pictures ...' not in shown
