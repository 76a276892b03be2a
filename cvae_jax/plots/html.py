"""One HTML file that opens offline: text, tables and embedded pictures."""

import base64
import html
from collections.abc import Sequence

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd;
  vertical-align: top; }}
th.number {{ text-align: right; vertical-align: bottom; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
div.wide {{ overflow-x: auto; font-size: .82em; }}
div.wide td, div.wide th {{ padding: .3rem .35rem; }}
div.wide td:first-child {{ min-width: 8rem; }}
td.protocol, p.protocol {{ color: #666; font-size: .85em; }}
tr.group th {{ background: #f4f4f4; }}
figure {{ margin: 2rem 0; }}
img {{ max-width: 100%; height: auto; }}
figcaption {{ font-weight: 600; margin-bottom: .4rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(title: str, elements: Sequence[str]) -> str:
  """The content of the file: a heading, then elements of HTML."""
  return PAGE.format(title=html.escape(title), body='\n'.join(elements))


def paragraph(text: str, kind: str = '') -> str:
  """A paragraph of plain text; `kind` is a class in PAGE's style sheet."""
  return f'<p{f" class={kind}" if kind else ""}>{html.escape(text)}</p>'


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """A table of plain text; all columns but the first hold numbers."""

  def row(cells: Sequence[str], tag: str) -> str:
    name, *numbers = map(html.escape, cells)
    numbers = (f'<{tag} class=number>{number}</{tag}>' for number in numbers)
    return f'<tr><{tag}>{name}</{tag}>{"".join(numbers)}</tr>'

  head, body = row(header, 'th'), '\n'.join(row(line, 'td') for line in lines)
  table = f'<table>\n<thead>{head}</thead><tbody>\n{body}\n</tbody>\n</table>'
  return f'<div class=wide>{table}</div>'


def picture(title: str, png: bytes) -> str:
  """A picture with a title above it, embedded into the file."""
  data, text = base64.b64encode(png).decode(), html.escape(title)
  image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
  return f'<figure><figcaption>{text}</figcaption>{image}</figure>'
