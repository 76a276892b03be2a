"""Models on the Hugging Face Hub, by addresses such as hf://owner/name@revision."""

import re
from pathlib import Path
from typing import NamedTuple

import cvae_jax
from cvae_jax import config as config_lib
from cvae_jax.inference import shipped
from cvae_jax.models import fitted_prior
from cvae_jax.runtime import errors, libraries
from cvae_jax.runtime.errors import InputError
from cvae_jax.training import training_table

SCHEME = 'hf://'
FILES = (
  config_lib.FILE_NAME,
  shipped.WEIGHTS_FILE,
  fitted_prior.FILE_NAME,
  training_table.FILE_NAME,
  'README.md',
)


class Address(NamedTuple):
  """A model's repository on the hub."""

  owner: str
  name: str
  revision: str | None  # a branch, a tag or a commit; None: the newest

  @classmethod
  def of(cls, text: str) -> 'Address':
    """From hf://owner/name or hf://owner/name@revision.

    Raises:
      InputError: it is no such address.
    """
    match = re.fullmatch(rf'{SCHEME}([\w.-]+)/([\w.-]+)(?:@([\w./-]+))?', text)
    if match is None:
      raise InputError(
        f'{text[:100]!r} names no model on a hub, expected {SCHEME}owner/name or '
        f'{SCHEME}owner/name@revision.'
      )
    return cls(*match.groups())


def fetch(address: Address) -> Path:
  """The folder of a model's files, downloaded unless the cache of huggingface_hub has them.

  Only the files of a model are fetched, and none is executed.

  Raises:
    InputError: huggingface_hub is not installed, or the files cannot be fetched.
  """
  shown = f'{SCHEME}{address.owner}/{address.name}'
  if not libraries.installed('huggingface_hub'):
    raise InputError(
      f'{shown} needs huggingface_hub: pip install huggingface_hub. Or download its files into a '
      'folder, and name that.'
    )
  from huggingface_hub import snapshot_download  # late: half a second, and not always installed

  try:
    return Path(
      snapshot_download(
        f'{address.owner}/{address.name}',
        revision=address.revision,
        allow_patterns=list(FILES),
        library_name='cvae_jax',
        library_version=cvae_jax.__version__,
      )
    )
  except Exception as error:  # of the network, of the hub, of the disk: of many libraries
    revision = f' at revision {address.revision!r}' if address.revision else ''
    raise InputError(
      f'{shown}{revision} cannot be fetched: {errors.reason(error)} Check the name, the network '
      'and, for a private model, your token.'
    ) from error
