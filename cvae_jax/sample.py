"""Draws samples from a trained conditional VAE and pictures of its latent space.

Examples:
  python sample.py --digit 3                                  64 images of the digit 3
  python sample.py                                            all classes, one row each
  python sample.py --label trouser --workdir fashion_mnist    shipped weights, by their name
  python sample.py --mode style --num_images 5                one handwriting, ten digits
  python sample.py --mode interpolate --label 3,8 --format gif
  python sample.py --mode interpolate --images a.png b.png --interpolation spherical
  python sample.py --mode posterior --indices 0,1,2 --num_draws 8 --data_dir DIR
  python sample.py --mode traverse --digit 3
  python sample.py --workdir mnist_style --condition digit=3,slant=0.4
  python sample.py --workdir mnist_style --mode sweep --condition digit=all,slant=-0.6:0.6:9
  python sample.py --mode edit --images a.png --condition digit=7    the same latent
  python sample.py --workdir runs/latent_flow --digit 3 --guidance 2 --steps 20
  python sample.py --workdir runs/latent_flow --mode inpaint --images a.png --mask m.png
  python sample.py --workdir runs/latent_flow --mode vary --noise 0.5 --images a.png
  python sample.py --mode arithmetic --indices 4,8,15         the first − the second + the third

Without --workdir it takes the newest run under runs/, or the shipped mnist. Latents come from the
prior that was fitted at the end of training, if there is one.
"""

from absl import flags

from cvae_jax import cli
from cvae_jax.runtime.errors import InputError

_MODES = ['prior', 'posterior', 'reconstruct', 'interpolate', 'traverse', 'arithmetic']
_MODES += ['manifold', 'style', 'sweep', 'edit', 'vary', 'inpaint']
flags.DEFINE_enum('mode', 'prior', _MODES, 'What to draw.')
flags.DEFINE_string('workdir', None, 'A run, one of its checkpoints, or shipped weights.')
flags.DEFINE_string('checkpoint', 'best', 'best (by validation ELBO), last, or a step.')
flags.DEFINE_list('label', None, 'Classes, by name, else by number: 3 or 3,8.')
flags.DEFINE_list('digit', None, 'The same as --label.')
_CONDITION = 'Conditions by column: digit=3,slant=0.4; ranges for sweep and edit: slant=-1:1:9.'
flags.DEFINE_multi_string('condition', None, _CONDITION)
flags.DEFINE_multi_string('images', None, 'Your own pictures to start from: files or folders.')
flags.DEFINE_list('indices', None, "Images of the run's dataset to start from: 0,1,2.")
_SPLITS = ['train', 'validation', 'test']
flags.DEFINE_enum('split', None, _SPLITS, 'The split of --indices; by default test.')
flags.DEFINE_string('data_dir', None, 'Folder of the dataset, if it is not that of the run.')
_NUM_IMAGES = 'Images of one class (64), of each class (10), or paths between two classes (4).'
flags.DEFINE_integer('num_images', None, _NUM_IMAGES, 1, 10_000)
_NUM_DRAWS = 'Draws per image, for posterior, vary and inpaint (8).'
flags.DEFINE_integer('num_draws', None, _NUM_DRAWS, 1, 100)
flags.DEFINE_float('noise', None, 'For vary: above 0, the image, to 1, a sample (0.5).')
flags.DEFINE_string('mask', None, 'For inpaint: a picture, white where pixels are to be filled.')
_PATH = 'The path (linear). With a second stage, spherical goes through its noise.'
flags.DEFINE_enum('interpolation', None, ['linear', 'spherical'], _PATH)
flags.DEFINE_list('dims', None, 'Two latent dimensions for manifold (those that change most).')
flags.DEFINE_float('temperature', None, 'Factor on the standard deviation of latents (1).', 0.0)
_PRIOR = "Prior of the latents: of a second stage, fitted to encoded images, or the model's own."
flags.DEFINE_enum('prior', None, ['flow_matching', 'fitted', 'model'], _PRIOR)
flags.DEFINE_float('guidance', None, 'Of a second stage: how much the conditions count (1).')
flags.DEFINE_integer('steps', None, 'Of a second stage: steps from noise to latents (20).')
flags.DEFINE_integer('seed', None, 'The same seed gives the same picture (0).', 0, 2**32 - 1)
flags.DEFINE_bool('draw', False, "Sample the pixels instead of showing the decoder's means.")
flags.DEFINE_enum('format', None, ['png', 'npz', 'gif'], 'File format (png); gif is animated.')
flags.DEFINE_string('output', None, "Output file; by default in the run's samples/.")


def main() -> None:
  given = flags.FLAGS
  if given.label is not None and given.digit is not None:
    raise InputError('--label and --digit mean the same: give one of them.')
  # Late: help and wrong flags do not wait for JAX.
  import cvae_jax
  from cvae_jax.inference import drawings, sampling
  from cvae_jax.runtime import devices, numerics, paths

  values = {name: given[name].value for name in sampling.Request._fields}
  output = None if given.output is None else paths.from_user(given.output)
  values['label'] = given.digit if given.label is None else given.label
  if given.condition is not None:
    values['condition'] = [item for text in given.condition for item in text.split(',')]
  values['format'] = sampling.format_of(given.format, output)
  request = sampling.Request(**values)
  sampling.check(request)
  devices.use_compilation_cache()
  numerics.pin()
  model = cvae_jax.load(given.workdir, given.checkpoint)
  print(f'{model.folder}, weights of step {model.step}')
  drawing = sampling.draw(model, request)
  output = output or model.folder / 'samples' / sampling.file_name(request, model)
  with paths.writing(output, 'Name another --output.'):
    drawings.write(drawing, output, model.class_names, model.shown)
  print(f'{drawing.title}: {output}')


def run() -> None:
  cli.run(main, __doc__)


if __name__ == '__main__':
  run()
