"""Measures a trained model on a split of its data: a table, JSON, CSV and an HTML report.

Examples:
  python evaluate.py --workdir runs/mnist
  python evaluate.py --workdir runs/mnist --iwae_samples 100 --max_examples 1000    a quick look
  python evaluate.py --metrics likelihood,latent         only some groups, here without IWAE
  python evaluate.py --workdir digits                    shipped weights, by their name
  python evaluate.py --predict pictures/                 your own pictures
  python evaluate.py --predict pictures/ --against others/    how unusual each is
  python evaluate.py --scatter --projection tsne         only the scatter plot of the latents
  python evaluate.py --compare runs/mnist runs/dae       several runs on the same images

Without --workdir it takes the newest run under runs/, or the shipped mnist. Each number has its
protocol, and a warning if it says little. IWAE comes last and takes longest: on a CPU, 5,000
samples for each of 1,000 images, evenly spaced in the split, take 20 minutes to an hour.
"""

from absl import flags

from cvae_jax import cli
from cvae_jax.evaluation import GROUPS, IWAE_SAMPLES
from cvae_jax.runtime.errors import InputError

flags.DEFINE_string('workdir', None, 'A run, one of its checkpoints, or shipped weights.')
flags.DEFINE_string('checkpoint', 'best', 'best (by validation ELBO), last, or a step.')
flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'The images to use.')
flags.DEFINE_list('metrics', None, f'Only some of these groups: {",".join(GROUPS)}.')
flags.DEFINE_integer('iwae_samples', IWAE_SAMPLES, 'K of the IWAE bound.', 1, 10**7)
flags.DEFINE_integer('max_examples', None, 'Use only the first N images of the split.', 2)
flags.DEFINE_string('data_dir', None, 'Folder of the data, if it is not that of the run.')
flags.DEFINE_enum('projection', 'pca', ['pca', 'tsne', 'umap'], 'Of the latents, to 2 dimensions.')
flags.DEFINE_string('lpips', None, 'Folder of the LPIPS weights, or download; else the cache.')
flags.DEFINE_string('predict', None, 'A folder: only latents and bounds of its pictures.')
flags.DEFINE_string('against', None, 'With --predict: a folder to tell its pictures apart from.')
flags.DEFINE_float('guidance', None, 'Of a second stage: how much the conditions of samples count.')
flags.DEFINE_integer('steps', None, 'Of a second stage: steps from noise to latents.')
flags.DEFINE_enum('prior', None, ['flow_matching', 'model'], 'Of bounds: a second stage, or not.')
flags.DEFINE_bool('scatter', False, 'Only the scatter plot of the latents.')
flags.DEFINE_multi_string('compare', None, 'Only a comparison of runs, or of those in a folder.')
# The flags that each mode ignores.
NUMBERS = ('metrics', 'iwae_samples', 'max_examples', 'lpips', 'guidance', 'steps', 'prior')
ALONE = {
  'predict': (*NUMBERS, 'split', 'projection'),
  'scatter': (*NUMBERS, 'against'),
  'compare': (*NUMBERS, 'split', 'projection', 'workdir', 'against'),
}


def main() -> None:
  given = cli.check_alone(ALONE)
  # Late: help and wrong flags do not wait for JAX.
  import cvae_jax
  from cvae_jax.evaluation import comparison, perceptual, report, scatter, suite
  from cvae_jax.inference import prediction
  from cvae_jax.plots import projection
  from cvae_jax.runtime import devices, numerics, paths, progress

  devices.keep_freed_memory()
  devices.use_compilation_cache()
  numerics.pin()
  projection.check(given.projection)
  if given.against is not None and given.predict is None:
    raise InputError('--against needs --predict: a folder of pictures to tell apart from those.')
  if given.data_dir is not None and given.predict is not None and given.against is None:
    raise InputError('--predict does not use --data_dir without --against: leave it out.')
  asked = suite.chosen(given.metrics, [name for name in suite.USED_BY if given[name].present])
  if given.compare is not None:
    print(f'comparison: {comparison.compare(given.compare, given.checkpoint, given.data_dir)}')
    return
  model = cvae_jax.load(given.workdir, given.checkpoint).with_flow(given.guidance, given.steps)
  progress.log(f'{model.folder}, weights of step {model.step}')
  if given.against is not None:
    folders = map(paths.from_user, (given.predict, given.against))
    found = prediction.contrast(model, *folders, given.data_dir)
    for each in (found.first, found.second):
      print(f'predictions: {each.table} and {each.table.with_suffix(".npz").name}')
    print(f'AUROC of −ELBO, {given.against} against {given.predict}: {found.auroc:.4f}')
  elif given.predict is not None:
    table = prediction.predict(model, paths.from_user(given.predict)).table
    print(f'predictions: {table} and {table.with_suffix(".npz").name}')
  elif given.scatter:
    picture = scatter.write(model, model.data(given.data_dir), given.split, given.projection)
    print(f'latents: {picture}')
  else:
    lpips = perceptual.weights_of(given.lpips) if 'reconstruction' in asked else None
    report.check_writable(model)
    how = given.split, given.iwae_samples, given.max_examples, given.projection, lpips, asked
    how = *how, given.prior
    data, keep = model.data(given.data_dir), report.write_unless_finished
    result = suite.evaluate(model, data, *how, keep)
    progress.log(f'\n{report.summary(result)}\n\n{report.table(result)}\n')
    progress.log(f'report: {report.write(result)}')


def run() -> None:
  cli.run(main, __doc__)


if __name__ == '__main__':
  run()
