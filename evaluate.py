"""Measures a trained model on a split of its data: a table, JSON, CSV and an HTML report.

Examples:
  python evaluate.py --workdir runs/mnist
  python evaluate.py --workdir runs/mnist --iwae_samples 100 --max_examples 1000    a quick look
  python evaluate.py --workdir digits                    shipped weights, by their name
  python evaluate.py --predict pictures/                 your own pictures through the model
  python evaluate.py --scatter --projection tsne         where it puts the classes, a picture alone
  python evaluate.py --compare runs/mnist runs/dae       runs side by side, on the same images

Without --workdir it takes the run under runs/ that was written last, else the shipped mnist. Each
number is printed with how it came about. IWAE comes last and takes longest: on a CPU it is of
1,000 images, evenly spaced in the split, with its 5,000 samples half an hour on 2 cores.
"""

from absl import flags

from cvae_jax import cli as command_line
from cvae_jax.evaluation import IWAE_SAMPLES

flags.DEFINE_string('workdir', None, 'A run, a checkpoint in one, or shipped weights.')
flags.DEFINE_string('checkpoint', 'best', 'best (by validation ELBO), last, or a step.')
flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Which images.')
flags.DEFINE_integer('iwae_samples', IWAE_SAMPLES, 'K of the IWAE bound.', 1, 10**7)
flags.DEFINE_integer('max_examples', None, 'Only the first N of the split.', 2)
flags.DEFINE_string('data_dir', None, "Where the data are, if not where the run's were.")
flags.DEFINE_enum('projection', 'pca', ['pca', 'tsne', 'umap'], 'Of the latents onto a plane.')
flags.DEFINE_string(
  'lpips', None, "The folder with LPIPS's weights, or download; else the user's cache, if there."
)
flags.DEFINE_string(
  'predict', None, 'A folder of pictures: their latents, reconstructions and bounds; no metrics.'
)
flags.DEFINE_bool('scatter', False, 'Only the picture of the latents in two dimensions.')
flags.DEFINE_multi_string(
  'compare', None, 'Runs, or a folder of them: one table, picture and page.'
)
# What each of them does not heed.
ALONE = {
  'predict': ('split', 'iwae_samples', 'max_examples', 'projection', 'lpips', 'data_dir'),
  'scatter': ('iwae_samples', 'max_examples', 'lpips'),
  'compare': ('split', 'iwae_samples', 'max_examples', 'projection', 'lpips', 'workdir'),
}


def main() -> None:
  given = command_line.check_alone(ALONE)
  # Late, so that --help and mistyped flags do not wait for JAX.
  import cvae_jax
  from cvae_jax.evaluation import comparison, perceptual, report, scatter, suite
  from cvae_jax.inference import prediction
  from cvae_jax.plots import projection
  from cvae_jax.runtime import devices, paths, progress

  devices.keep_freed_memory()
  devices.use_compilation_cache()
  projection.check(given.projection)
  if given.compare is not None:
    print(f'comparison: {comparison.compare(given.compare, given.checkpoint, given.data_dir)}')
    return
  model = cvae_jax.load(given.workdir, given.checkpoint)
  progress.say(f'{model.folder}, weights of step {model.step}')
  if given.predict is not None:
    table = prediction.predict(model, paths.from_user(given.predict))
    print(f'predictions: {table} and {table.with_suffix(".npz").name}')
  elif given.scatter:
    picture = scatter.write(model, model.data(given.data_dir), given.split, given.projection)
    print(f'latents: {picture}')
  else:
    lpips_weights = perceptual.weights_of(given.lpips)
    report.check_writable(model)
    asked = given.split, given.iwae_samples, given.max_examples, given.projection, lpips_weights
    done = suite.evaluate(
      model, model.data(given.data_dir), *asked, before_iwae=report.write_unless_finished
    )
    page = report.write(done)
    progress.say(f'\n{report.summary(done)}\n\n{report.table(done)}\n\nreport: {page}')


if __name__ == '__main__':
  command_line.run(main, __doc__)
