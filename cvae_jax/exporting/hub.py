"""A folder that a model hub can take, and that `cvae_jax.load` reads from there or from here."""

from pathlib import Path

import jax

from cvae_jax import config as config_lib
from cvae_jax.config import SavedConfig
from cvae_jax.exporting import cards, folders
from cvae_jax.inference import loading, shipped
from cvae_jax.inference.hub import FILES
from cvae_jax.inference.model import Model
from cvae_jax.models import fitted_prior
from cvae_jax.runtime import tensor_files
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import training_table


def write(model: Model, output: Path, data_dir: str | None = None) -> None:
  """Writes config, weights, priors and card, and reads them again.

  Args:
    model: the model.
    output: the folder.
    data_dir: not used.

  Raises:
    InputError: the fitted prior on disk cannot be used, or the folder cannot be written.
  """
  if model.prior.fitted_error:
    raise InputError(f'{model.prior.fitted_error} Remove that file, or fit the prior again.')
  config = model.config.copy_and_resolve_references()
  config.data.dir = config.init_from = ''  # folders of this machine only
  columns = model.columns if model.conditioning.has_table else ()
  saved = SavedConfig(config, model.class_names, model.data_fingerprint, None, columns)
  with folders.whole(output, FILES) as folder:
    config_lib.save(folder, saved)
    tensor_files.save(folder / shipped.WEIGHTS_FILE, model.variables, step=model.step)
    if model.prior.fitted is not None:
      fitted_prior.save(folder, jax.device_get(model.prior.fitted), model.variables)
    if model.conditioning.training is not None:
      rows = {'values': model.conditioning.training}
      tensor_files.save(folder / training_table.FILE_NAME, rows)
    (folder / cards.FILE_NAME).write_text(cards.card(model), encoding='utf-8')
    again = loading.load(folder)
    if tensor_files.digest(again.variables) != tensor_files.digest(model.variables):
      raise InputError(f'{output} would hold other weights than the model: its disk is damaged.')
    sizes = [f'{path.name} {path.stat().st_size / 1e6:.2f} MB' for path in sorted(folder.iterdir())]
  print(f'{", ".join(sizes)}; loads with the same weights')
