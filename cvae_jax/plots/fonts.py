"""Names in any script: fonts of the system where matplotlib's own lacks one, numbers else."""

import contextlib
import functools
import unicodedata
from collections.abc import Iterable, Sequence

from cvae_jax.plots.style import FONT, font_manager, ft2font
from cvae_jax.runtime import progress


def families(text: str) -> list[str]:
  """The fonts, by name, that have the characters of `text` between them: FONT, then others."""
  return [FONT, *_fallbacks(_lacking(text))[0]]


def drawable(texts: Sequence[str], class_names: Sequence[str] = ()) -> list[str]:
  r"""Texts as a figure can show them, in place of boxes.

  A class in whose name is a character that no font has is called by its number, in any of the
  texts; which number is which name is shown on the screen. Elsewhere such characters are escaped,
  as `\u6570`.
  """
  missing = _undrawable(''.join(texts))
  if not missing:
    return list(texts)
  unnamed = {
    name: f'class {label}'
    for label, name in enumerate(class_names)
    if missing.intersection(name) and any(name in text for text in texts)
  }
  if unnamed:
    _explain(tuple(unnamed.items()))
  escapes = {ord(character): _escape(character) for character in missing}
  shown = []
  for text in texts:
    for name in sorted(unnamed, key=len, reverse=True):  # a name may be a part of another
      text = text.replace(name, unnamed[name])
    shown.append(text.translate(escapes))
  return shown


@functools.cache  # once for figures of the same names
def _explain(unnamed: tuple[tuple[str, str], ...]) -> None:
  meaning = ', '.join(f'{number} is {name}' for name, number in unnamed)
  meaning = meaning.translate({ord(x): _escape(x) for x in meaning if _is_control(x)})
  progress.log(
    'No font has all characters of these names; until one is installed, in pictures ' + meaning
  )


def _escape(character: str) -> str:
  return character.encode('unicode_escape').decode()


def _is_control(character: str) -> bool:
  """Whether it is a control character, or half of a character: no font shows either."""
  return unicodedata.category(character) in ('Cc', 'Cs')


def _lacking(text: str) -> frozenset[str]:
  """The characters that a font must have, and FONT has not."""
  shown = {x for x in text if not (x.isascii() or _is_control(x))}
  return frozenset(shown - _own_characters()) if shown else frozenset()


def _undrawable(text: str) -> frozenset[str]:
  """The characters that no font shows."""
  return _fallbacks(_lacking(text))[1].union(filter(_is_control, text))


@functools.cache
def _own_characters() -> frozenset[str]:
  path = font_manager.findfont(FONT)
  return frozenset(map(chr, font_manager.get_font(path).get_charmap()))


@functools.cache
def _fallbacks(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
  """Names of fonts of the system that have most of the characters, and what none has."""
  found: list[str] = []
  fonts = _system_fonts(characters) if characters else {}
  while fonts:
    path = max(fonts, key=lambda path: len(characters & fonts[path]))  # of equals the first
    if not characters & fonts[path]:
      break
    characters -= fonts.pop(path)
    found.append(_register(path))
  return tuple(found), characters


def _system_fonts(characters: Iterable[str]) -> dict[str, set[str]]:
  """Font files that can be drawn from, plain ones first, with those of the characters they have."""
  fonts = {}
  for path in font_manager.findSystemFonts():
    with contextlib.suppress(Exception):  # a damaged file; bitmaps, as of most coloured emoji
      font = ft2font.FT2Font(path)
      traits = font_manager.ttfFontProperty(font)
      has = {x for x in characters if font.get_char_index(ord(x))}
      if has and 'LastResort' not in traits.name.replace(' ', ''):  # boxes for everything
        rank = traits.weight != 400, traits.style != 'normal', 'Serif' in traits.name, path
        fonts[path] = rank, has
  return {path: fonts[path][1] for path in sorted(fonts, key=lambda path: fonts[path][0])}


def _register(path: str) -> str:
  """Makes a font file known to matplotlib, whose list may be older; returns the font's name."""
  name = font_manager.get_font(path).family_name
  if name not in font_manager.get_font_names():
    font_manager.fontManager.addfont(path)
  return name
