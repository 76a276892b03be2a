"""Measures a trained model on a split of its data: a table, JSON, CSV and an HTML report.

Examples:
  python evaluate.py --workdir runs/mnist
  python evaluate.py --workdir runs/mnist --iwae_samples 100 --max_examples 1000    a quick look
  python evaluate.py --workdir digits                    shipped weights, by their name
  python evaluate.py --predict pictures/                 your own pictures through the model
  python evaluate.py --compare runs/mnist runs/dae       runs side by side, on the same images

Without --workdir it takes the run under runs/ that was written last, else the shipped mnist. Each
number is printed with how it came about. IWAE comes last and takes longest: on a CPU it is of
1,000 images, evenly spaced in the split, with its 5,000 samples half an hour on 2 cores.
"""

from absl import flags

from cvae_jax import command_line
from cvae_jax.evaluation import IWAE_SAMPLES

_WORKDIR = flags.DEFINE_string('workdir', None, 'A run, a checkpoint in one, or shipped weights.')
_CHECKPOINT = flags.DEFINE_string(
  'checkpoint', 'best', 'best (by validation ELBO), last, or a step.'
)
_SPLIT = flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Which images.')
_IWAE_SAMPLES = flags.DEFINE_integer('iwae_samples', IWAE_SAMPLES, 'K of the IWAE bound.', 1, 10**7)
_MAX_EXAMPLES = flags.DEFINE_integer('max_examples', None, 'Only the first N of the split.', 2)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', None, "Where the data are, if not where the run's were."
)
_PROJECTION = flags.DEFINE_enum(
  'projection', 'pca', ['pca', 'tsne', 'umap'], 'Of the latents onto two dimensions.'
)
_LPIPS = flags.DEFINE_string(
  'lpips', None, "The folder with LPIPS's weights, or download; else the user's cache, if there."
)
_PREDICT = flags.DEFINE_string(
  'predict', None, 'A folder of pictures: their latents, reconstructions and bounds; no metrics.'
)
_COMPARE = flags.DEFINE_multi_string(
  'compare', None, 'Two runs or more: one table, one picture, one page in runs/comparisons/.'
)


def main() -> None:
  unheeded = ['split', 'iwae_samples', 'max_examples', 'projection', 'lpips']
  if _PREDICT.value is not None:
    command_line.check_absent([*unheeded, 'data_dir', 'compare'], 'predict')
  if _COMPARE.value is not None:
    command_line.check_absent([*unheeded, 'workdir'], 'compare')
  # Late, so that --help and mistyped flags do not wait for JAX.
  import cvae_jax
  from cvae_jax import devices, paths, progress, projection
  from cvae_jax.evaluation import perceptual, prediction, report, suite
  from cvae_jax.experiments import compare

  devices.keep_freed_memory()
  devices.use_compilation_cache()
  projection.check(_PROJECTION.value)
  if _COMPARE.value is not None:
    page = compare.compare(_COMPARE.value, _CHECKPOINT.value, _DATA_DIR.value)
    progress.say(f'comparison: {page}')
    return
  model = cvae_jax.load(_WORKDIR.value, _CHECKPOINT.value)
  progress.say(f'{model.folder}, weights of step {model.step}')
  if _PREDICT.value is not None:
    table = prediction.predict(model, paths.from_user(_PREDICT.value))
    print(f'predictions: {table} and {table.with_suffix(".npz").name}')
    return
  lpips_weights = perceptual.weights_of(_LPIPS.value)
  report.check_writable(model)
  evaluation = suite.evaluate(
    model,
    model.data(_DATA_DIR.value),
    _SPLIT.value,
    _IWAE_SAMPLES.value,
    _MAX_EXAMPLES.value,
    _PROJECTION.value,
    lpips_weights,
    before_iwae=report.write_unless_finished,
  )
  page = report.write(evaluation)
  summary, table = report.summary(evaluation), report.table(evaluation)
  progress.say(f'\n{summary}\n\n{table}\n\nreport: {page}')


if __name__ == '__main__':
  command_line.run(main, __doc__)
