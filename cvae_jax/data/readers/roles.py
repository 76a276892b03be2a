"""What a name of a file or an array says: images or labels, and the split."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from cvae_jax.runtime.errors import InputError

SPLITS = {  # in order, by the words that stand for them
  **dict.fromkeys(('train', 'training'), 'train'),
  **dict.fromkeys(('validation', 'val', 'valid'), 'validation'),
  **dict.fromkeys(('test', 'testing'), 'test'),
}
_SPLITS = SPLITS | {'t10k': 'test'}  # as MNIST's files
_KINDS = {
  **dict.fromkeys(('images', 'image', 'imgs', 'img', 'x'), 'images'),
  **dict.fromkeys(('labels', 'label', 'targets', 'y'), 'labels'),
}
_SPLIT = f'(?P<split>{"|".join(SPLITS)})'
_BEFORE = re.compile(rf'{_SPLIT}[^A-Za-z0-9]+(?P<column>.+)', re.IGNORECASE)
_AFTER = re.compile(rf'(?P<column>.+?)[^A-Za-z0-9]+{_SPLIT}', re.IGNORECASE)


class Role(NamedTuple):
  """What a name stands for."""

  split: str  # 'train' where the name says nothing
  kind: str  # 'images' or 'labels'

  def __str__(self) -> str:
    return f'{self.split} {self.kind}'


def role_of(name: str) -> Role | None:
  """The role of a name such as 'train_images', 'x_test' or 'emnist-train-labels-idx1-ubyte'."""
  words = re.split(r'[^a-z0-9]+', name.lower())
  kinds = {_KINDS[word] for word in words if word in _KINDS}
  splits = {_SPLITS[word] for word in words if word in _SPLITS} or {'train'}
  return Role(splits.pop(), kinds.pop()) if len(kinds) == len(splits) == 1 else None


def column_of(name: str) -> tuple[str, str]:
  """The split and the column that a name such as 'train_angle', 'angle_test' or 'angle' says."""
  found = _BEFORE.fullmatch(name) or _AFTER.fullmatch(name)
  return (SPLITS[found['split'].lower()], found['column']) if found else ('train', name)


def assign(names: Iterable[str], place: str, advice: str) -> dict[Role, str]:
  """The name that has each role; names without a role are left out.

  Args:
    names: of files or arrays.
    place: where they are, for messages.
    advice: what to do where two have the same role.

  Raises:
    InputError: two names have one role, or none is that of training images.
  """
  found, names = {}, sorted(names)
  for name in names:
    if role := role_of(name):
      found.setdefault(role, []).append(name)
  for role, candidates in sorted(found.items(), key=lambda item: item[0].split != 'train'):
    if len(candidates) > 1:
      raise InputError(
        f'{place} holds {len(candidates)} candidates for the {role}: {_shown(candidates)}. {advice}'
      )
  if Role('train', 'images') not in found:
    raise InputError(
      f'{place} holds no training images: a name with "images" or "x", and "train" if there are '
      f'several splits. It holds {_shown(names) or "nothing"}.'
    )
  return {role: name for role, (name,) in found.items()}


def _shown(names):
  return ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
