"""What MkDocs does for the manual besides its plugins; named in mkdocs.yml.

- `<!-- fields -->` on a page becomes the tables of `cvae_jax.config.FIELDS`.
- Documents outside of docs/ that mkdocs.yml lists become pages, and links to them lead there. A
  link to any other file of the repository becomes its text, since the site does not hold that file.
- Formulas become MathML, which browsers show without a script.
"""

import html
import logging
import posixpath
import re
from pathlib import Path

import latex2mathml.converter
from mkdocs.structure.files import File

from cvae_jax.config import FIELDS, Effect

LOG = logging.getLogger('mkdocs.hooks')  # a warning fails a strict build
ROOT = Path(__file__).parents[1]
LINK = re.compile(r'(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s:#]+)(#[^()\s]*)?\)')
CODE = re.compile(r'(^```.*?^```|`[^`\n]+`)', re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\(?:\(|\[)(.*?)\\(?:\)|\])</\1>', re.DOTALL)
# Each group of fields begins at one of these and ends before the next.
GROUPS = {
  'name': 'The run',
  'latent_dim': 'Model and objective',
  'beta': 'The weight of the KL',
  'optimizer': 'Optimization and precision',
  'profile': 'Logs, checkpoints, stopping',
  'data.name': 'Data',
  'data.corruption': 'Corruption, for a denoising autoencoder',
  'data.augment.rotation': 'Augmentation',
  'model.name': 'Networks',
  'velocity.name': 'The velocity of flow matching',
}


def on_files(files, config):
  """Adds the documents outside of docs/."""
  for source, page in config.extra['documents'].items():
    files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Fills in the tables of fields, and leads links to where the site has their targets."""
  documents = config.extra['documents']
  here = page.file.src_uri  # the page's folder in the repository is what its links start from
  sources = {target: source for source, target in documents.items()}
  folder = posixpath.dirname(sources.get(here, f'docs/{here}'))

  def resolved(match):
    text, target, anchor = match[1], match[2], match[3] or ''
    path = posixpath.normpath(posixpath.join(folder, target))
    if path in documents:
      path = documents[path]
    elif path.startswith('docs/'):
      path = path.removeprefix('docs/')
    elif (ROOT / path).exists():
      return text
    else:
      return match[0]  # strict mode names it
    return f'[{text}]({posixpath.relpath(path, posixpath.dirname(here) or ".")}{anchor})'

  parts = CODE.split(markdown)  # code stands at odd places
  # A link whose text is code is split there: code is put back before links are looked for.
  kept = [part if i % 2 == 0 else f'\0{i}\0' for i, part in enumerate(parts)]
  markdown = LINK.sub(resolved, ''.join(kept))
  markdown = re.sub(r'\0(\d+)\0', lambda match: parts[int(match[1])], markdown)
  return markdown.replace('<!-- fields -->', tables_of_fields())


def on_page_content(content, page, config, files):
  """Turns the formulas that arithmatex found into MathML."""

  def converted(match):
    formula = html.unescape(match[2]).strip()
    display = 'block' if match[1] == 'div' else 'inline'
    spaced = re.sub(r'\\log\s+', r'\\log\\,', formula)
    try:
      mathml = latex2mathml.converter.convert(spaced, display=display)
    except Exception as error:  # of the library, which has a class for each mistake
      mathml = f'\\{type(error).__name__}'
    if '\\' in mathml:  # a command that is not known stays as it is
      LOG.warning('%s: a formula cannot be shown: %s', page.file.src_uri, formula)
    return mathml

  return FORMULA.sub(converted, content)


def tables_of_fields() -> str:
  """The fields of a config, a table for each group."""
  lines = []
  for name, field in FIELDS.items():
    if name in GROUPS:
      lines += ['', f'## {GROUPS[name]}', '']
      lines += ['| field | default | may hold | meaning | may change |', '|---|---|---|---|---|']
    value = field.default
    shown = ','.join(map(str, value)) if isinstance(value, tuple) else value
    marks = ('resumed', Effect.FREE), ('sweep', Effect.TRACED)
    cells = [
      f'`{name}`',
      'empty' if shown == '' else f'`{shown}`',
      field.rule.expected,
      field.help,
      ', '.join(mark for mark, effect in marks if effect in field.effect),
    ]
    lines.append(f'| {" | ".join(map(_cell, cells))} |')
  return '\n'.join(lines)


def _cell(text: str) -> str:
  """`text` as it is in a cell of a table, code or not."""
  text = text.replace('|', '\\|')
  return text if text.startswith('`') else re.sub(r'[*_]', r'\\\g<0>', html.escape(text))
