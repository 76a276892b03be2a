"""Exports a trained model: a page for any browser, or files for other programs.

Examples:
  python export.py --workdir mnist --format html          one file that draws and reads digits
  python export.py --workdir mnist --format onnx          encoder, decoder and prior for onnxruntime
  python export.py --workdir runs/mnist --format stablehlo    the same for JAX, without this code
  python export.py --workdir runs/mnist --format hub      a folder that a model hub can take

Without --workdir it takes the newest run under runs/, or the shipped mnist. The files of a format
are written together, or none of them.
"""

from absl import flags

from cvae_jax import cli
from cvae_jax.runtime.errors import InputError

FORMATS = ('html', 'onnx', 'stablehlo', 'hub')
flags.DEFINE_string('workdir', None, 'A run, one of its checkpoints, or shipped weights.')
flags.DEFINE_string('checkpoint', 'best', 'best (by validation ELBO), last, or a step.')
flags.DEFINE_enum('format', 'html', FORMATS, 'What to write.')
_OUTPUT = "The file (html) or folder to write; by default in the run's export/."
flags.DEFINE_string('output', None, _OUTPUT)
_DATA_DIR = 'Folder of the data of a page (html), if it is not that of the run.'
flags.DEFINE_string('data_dir', None, _DATA_DIR)


def main() -> None:
  given = flags.FLAGS
  if given.data_dir is not None and given.format != 'html':
    raise InputError(f'--format={given.format} does not use --data_dir: leave it out.')
  # Late: help and wrong flags do not wait for JAX.
  import cvae_jax
  from cvae_jax import exporting
  from cvae_jax.runtime import devices, numerics, paths

  output = None if given.output is None else paths.from_user(given.output)
  devices.use_compilation_cache()
  numerics.pin()
  model = cvae_jax.load(given.workdir, given.checkpoint)
  print(f'{model.folder}, weights of step {model.step}')
  print(f'{given.format}: {exporting.write(model, given.format, output, given.data_dir)}')


def run() -> None:
  cli.run(main, __doc__)


if __name__ == '__main__':
  run()
