"""LPIPS against PyTorch's layers, with random weights in files like the official ones."""

import functools
import hashlib
import http.server
import pickle
import sys
import threading

import jax
import numpy as np
import pytest

from cvae_jax.evaluation import perceptual
from cvae_jax.models import lpips
from cvae_jax.runtime.errors import InputError

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
from lpips_files import ALEXNET, KERNELS, LINEAR, random_alexnet, random_linear, save  # noqa: E402


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  return perceptual.load(save(tmp_path_factory.mktemp('lpips')))


def pairs(count, height, width, channels, seed=0):
  random = np.random.RandomState(seed)
  return random.rand(2, count, height, width, channels).astype(np.float32)


def reference(images, reconstructions):
  """LPIPS as its authors' PyTorch code computes it."""
  alexnet, linear = random_alexnet(), random_linear()
  functional = torch.nn.functional

  def features(images):
    hidden = torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    shorter = min(hidden.shape[2:])
    if shorter < 64:
      size = [round(side * 64 / shorter) for side in hidden.shape[2:]]
      hidden = functional.interpolate(hidden, size, mode='bilinear', align_corners=False)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    hidden = ((hidden * 2 - 1) - shift) / scale
    for number in KERNELS:
      if number in (3, 6):
        hidden = functional.max_pool2d(hidden, 3, 2)
      kernel, bias = (alexnet[f'features.{number}.{kind}'] for kind in ('weight', 'bias'))
      stride, padding = {0: (4, 2), 3: (1, 2)}.get(number, (1, 1))
      hidden = functional.relu(functional.conv2d(hidden, kernel, bias, stride, padding))
      yield hidden / (hidden.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)

  total = 0
  layers = zip(linear.values(), features(images), features(reconstructions), strict=True)
  for weight, first, second in layers:
    total = total + functional.conv2d((first - second) ** 2, weight).mean((1, 2, 3))
  return total.numpy()


@pytest.mark.parametrize(
  'shape', [(64, 64, 3), (64, 64, 1), (28, 28, 1), (32, 32, 3), (20, 31, 3), (75, 90, 3)]
)
def test_lpips_equals_that_of_pytorch(weights, shape):
  images, reconstructions = pairs(3, *shape)
  distances = perceptual.lpips(weights, images, reconstructions)
  assert distances.dtype == np.float32
  assert distances.min() > 0.1
  np.testing.assert_allclose(distances, reference(images, reconstructions), rtol=1e-4)


def test_lpips_of_similar_images_equals_that_of_pytorch(weights):
  images, noise = pairs(3, 64, 64, 3)
  near = images + 0.01 * (noise - 0.5)
  np.testing.assert_allclose(
    perceptual.lpips(weights, images, near), reference(images, near), rtol=1e-4
  )


@pytest.mark.parametrize('channels', [1, 3])
def test_lpips_is_a_distance(weights, channels):
  images, reconstructions = pairs(2, 28, 28, channels)
  there = perceptual.lpips(weights, images, reconstructions)
  np.testing.assert_array_equal(perceptual.lpips(weights, reconstructions, images), there)
  np.testing.assert_array_equal(perceptual.lpips(weights, images, images), [0, 0])
  halfway = perceptual.lpips(weights, images, (images + reconstructions) / 2)
  assert (halfway < there).all()


def test_black_images_have_a_distance(weights):
  black = np.zeros((1, 28, 28, 1), np.float32)
  assert perceptual.lpips(weights, black, black) == 0
  assert perceptual.lpips(weights, black, black + 1) > 0


def test_grey_is_three_equal_channels(weights):
  images, reconstructions = pairs(2, 64, 64, 1)
  colour = [np.repeat(array, 3, axis=-1) for array in (images, reconstructions)]
  np.testing.assert_allclose(
    perceptual.lpips(weights, *colour),
    perceptual.lpips(weights, images, reconstructions),
    rtol=1e-5,
  )


@pytest.mark.parametrize('batch_size', [1, 2, 5, 7])
def test_batches_of_any_size_give_the_same(weights, batch_size, monkeypatch):
  images, reconstructions = pairs(5, 28, 28, 1)
  whole = perceptual.lpips(weights, images, reconstructions)
  assert len(np.unique(whole)) == 5
  # BATCH_PIXELS counts pixels of resized images.
  monkeypatch.setattr(perceptual, 'BATCH_PIXELS', batch_size * 64**2)
  sizes, features = [], perceptual._features

  def counted(weights, images):
    sizes.append(len(images))
    return features(weights, images)

  monkeypatch.setattr(perceptual, '_features', counted)
  split = perceptual.lpips(weights, images, reconstructions)
  np.testing.assert_allclose(split, whole, rtol=1e-5)
  assert sizes == [min(batch_size, 5)] * 2 * -(-5 // batch_size)


def test_one_image_larger_than_a_batch_and_none_at_all(weights, monkeypatch):
  monkeypatch.setattr(perceptual, 'BATCH_PIXELS', 1)
  images, reconstructions = pairs(2, 66, 64, 3)
  np.testing.assert_allclose(
    perceptual.lpips(weights, images, reconstructions),
    reference(images, reconstructions),
    rtol=1e-4,
  )
  assert perceptual.lpips(weights, images[:0], reconstructions[:0]).shape == (0,)


@pytest.mark.parametrize(
  ('images', 'reconstructions'),
  [
    (np.zeros((2, 28, 28, 1), np.uint8), np.zeros((2, 28, 28, 1), np.float32)),
    (np.zeros((2, 28, 28, 1), np.float32), np.zeros((1, 28, 28, 1), np.float32)),
    (np.zeros((2, 28, 28, 4), np.float32),) * 2,
    (np.zeros((28, 28, 1), np.float32),) * 2,
  ],
)
def test_other_shapes_and_dtypes_are_refused(weights, images, reconstructions):
  with pytest.raises(ValueError, match=r'float\[N, H, W, 1 or 3\]'):
    perceptual.lpips(weights, images, reconstructions)


def refusal(run, *given):
  with pytest.raises(InputError) as caught:
    run(*given)
  (line,) = str(caught.value).splitlines()
  return line


def test_missing_files_are_named_with_their_addresses(tmp_path):
  line = refusal(perceptual.load, tmp_path / 'nowhere')
  assert f'{tmp_path / "nowhere"} lacks {ALEXNET} (https://download.pytorch.org/' in line
  assert f'and {LINEAR} (https://raw.githubusercontent.com/richzhang/' in line
  save(tmp_path)
  (tmp_path / LINEAR).unlink()
  line = refusal(perceptual.load, tmp_path)
  assert f'{tmp_path} lacks {LINEAR} (' in line
  assert ALEXNET not in line


@pytest.mark.parametrize('name', [ALEXNET, LINEAR])
def test_a_damaged_file_is_named(tmp_path, name):
  content = (save(tmp_path) / name).read_bytes()
  for damaged in (b'', b'<html>404</html>', content[: len(content) // 2]):
    (tmp_path / name).write_bytes(damaged)
    line = refusal(perceptual.load, tmp_path)
    assert str(tmp_path / name) in line
    assert perceptual.FILES[name][0] in line


class Hostile:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), 'w')


def test_code_in_a_file_is_not_run(tmp_path):
  save(tmp_path)
  for write in (torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))):
    write({'lin0.model.1.weight': Hostile(tmp_path / 'made')}, tmp_path / LINEAR)
    assert str(tmp_path / LINEAR) in refusal(perceptual.load, tmp_path)
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize(
  ('tensor', 'message'),
  [
    (torch.zeros(1, 65, 1, 1), 'has shape (1, 65, 1, 1) for'),
    (torch.zeros(64), 'has shape (64,) for'),
    (None, 'has no tensor for'),
    ('text', 'has no tensor for'),
    (torch.full((1, 64, 1, 1), torch.nan), 'has numbers that are not finite in'),
  ],
)
def test_other_tensors_are_named(tmp_path, tensor, message):
  name = 'lin0.model.1.weight'
  line = refusal(perceptual.load, save(tmp_path, linear=random_linear() | {name: tensor}))
  assert f"{tmp_path / LINEAR} {message} '{name}'" in line
  assert perceptual.FILES[LINEAR][0] in line


def test_a_kernel_of_another_network_is_named(tmp_path):
  other = {'features.0.weight': torch.zeros(64, 3, 3, 3)}
  line = refusal(perceptual.load, save(tmp_path, alexnet=random_alexnet() | other))
  assert f"{ALEXNET} has shape (64, 3, 3, 3) for 'features.0.weight', expected" in line
  line = refusal(perceptual.load, save(tmp_path, alexnet=[1, 2]))
  assert f"{ALEXNET} has no tensor for 'features.0.weight', expected" in line


def test_a_missing_pytorch_is_named(tmp_path, monkeypatch):
  save(tmp_path)
  monkeypatch.setitem(sys.modules, 'torch', None)
  assert 'pip install torch' in refusal(perceptual.load, tmp_path)


def test_weights_are_taken_from_the_cache_if_they_are_there(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert perceptual.weights_of(None) is None
  folder = tmp_path / 'cvae_jax' / 'lpips'
  folder.mkdir(parents=True)
  assert len(perceptual.weights_of(str(save(folder))).linear) == 5
  assert len(perceptual.weights_of(None).linear) == 5
  assert str(tmp_path / 'nowhere') in refusal(perceptual.weights_of, str(tmp_path / 'nowhere'))


class Handler(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    pass

  def do_GET(self):
    self.server.asked.append(self.path)
    super().do_GET()


@pytest.fixture
def server(tmp_path, monkeypatch):
  """Serves both files with their digests; gives their folder and the requested paths."""
  folder = save(tmp_path / 'served')
  handler = functools.partial(Handler, directory=str(folder))
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    files = {}
    for name in perceptual.FILES:
      digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
      files[name] = (f'http://127.0.0.1:{server.server_port}/{name}', digest)
    monkeypatch.setattr(perceptual, 'FILES', files)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield folder, server.asked
    server.shutdown()
    thread.join()


def test_downloaded_weights_can_be_loaded(server, tmp_path):
  folder, asked = server
  target = tmp_path / 'new' / 'lpips'
  perceptual.download(target)
  assert sorted(path.name for path in target.iterdir()) == [LINEAR, ALEXNET]
  assert len(perceptual.load(target).kernels) == 5
  assert asked == [f'/{ALEXNET}', f'/{LINEAR}']
  (target / LINEAR).write_bytes(b'damaged')
  perceptual.download(target)  # only the damaged file is fetched again
  assert asked[2:] == [f'/{LINEAR}']
  assert (target / LINEAR).read_bytes() == (folder / LINEAR).read_bytes()


def test_another_file_than_expected_is_not_kept(server, tmp_path):
  folder, _ = server
  (folder / ALEXNET).write_bytes(b'<html>Sign in</html>')
  target = tmp_path / 'new'
  target.mkdir()
  (target / ALEXNET).write_bytes(b'was there before')
  line = refusal(perceptual.download, target)
  assert f'/{ALEXNET} has SHA-256 ' in line
  assert f'put it into {target}' in line
  assert [path.name for path in target.iterdir()] == [ALEXNET]
  assert (target / ALEXNET).read_bytes() == b'was there before'


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
  def break_off(self):
    self.send_response(200)
    self.send_header('Content-Length', '1000')
    self.end_headers()
    self.wfile.write(b'only this')

  monkeypatch.setattr(Handler, 'do_GET', break_off)
  line = refusal(perceptual.download, tmp_path / 'new')
  assert f'/{ALEXNET} cannot be downloaded: ChunkedEncodingError.' in line
  assert list((tmp_path / 'new').iterdir()) == []


def test_the_status_of_a_refused_download_is_named(server, tmp_path):
  folder, _ = server
  (folder / LINEAR).unlink()
  line = refusal(perceptual.download, tmp_path / 'new')
  assert f'/{LINEAR} cannot be downloaded: HTTPError 404.' in line


def test_a_failed_connection_is_named(tmp_path, monkeypatch):
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  monkeypatch.setattr(perceptual, 'FILES', {ALEXNET: ('http://127.0.0.1:9/file', '')})
  line = refusal(perceptual.download, tmp_path / 'new')
  for expected in ('http://127.0.0.1:9/file', 'ConnectionError', str(tmp_path / 'new')):
    assert expected in line


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
  (tmp_path / 'file').touch()
  line = refusal(perceptual.download, tmp_path / 'file')
  assert 'File exists' in line
  assert str(tmp_path / 'file') in line


def test_where_no_feature_is_left_there_is_no_gradient(weights):
  """A ReLU may leave a pixel nothing, and the root of 0 has no gradient: it must not be nan."""
  dead = weights._replace(biases=tuple(bias - 1e3 for bias in weights.biases))
  images, others = pairs(1, 28, 28, 1)

  def distance(images):
    return lpips.distances(dead, *(lpips.features(dead, x) for x in (images, others))).sum()

  np.testing.assert_array_equal(jax.grad(distance)(images), np.zeros_like(images))
