"""Pictures of reports. One that cannot be drawn costs itself, and none of the numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cvae_jax.plots import figures, html
from cvae_jax.plots.style import Figure
from cvae_jax.runtime import paths, progress
from cvae_jax.runtime.errors import reason

Make = Callable[[], tuple[str, Figure] | None]  # title and figure, if there is something to draw


class Picture(NamedTuple):
  """A drawn figure, or why it is missing."""

  title: str
  png: bytes | None
  failure: str = ''

  @property
  def element(self) -> str:
    """The element of a page."""
    if self.png is None:
      return html.paragraph(f'{self.title}: not drawn, {self.failure}.', 'warning')
    return html.picture(self.title, self.png)


def draw(name: str, make: Make) -> Picture | None:
  """Draws a figure as a PNG file; one line says why where that fails."""
  try:
    if made := make():
      return Picture(made[0], figures.to_png(made[1]))
  except Exception as error:  # whatever models and drawing libraries raise
    progress.log(f'The picture {name!r} is left out: {reason(error)}')
    return Picture(name, None, reason(error))
  return None


def write(folder: Path, makers: Mapping[str, Make]) -> list[str]:
  """Draws pictures into PNG files of their names; returns the elements of a page for them.

  Raises:
    OSError: the folder cannot be written.
  """
  drawn = {name: draw(name, make) for name, make in makers.items()}
  for name, picture in drawn.items():
    if picture and picture.png is not None:
      paths.write(folder / f'{name}.png', picture.png)
  return [picture.element for picture in drawn.values() if picture]
