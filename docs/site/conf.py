"""The book made of docs/: `python -m sphinx -W -c docs/site docs build/site`, which opens from a disk, offline.

Gives     pages of all of docs/, with a search; files of the checkout that pages link to (results of benchmarks)
Fails     with -W: a link to a page, heading or file that is not there, and a page that no menu leads to
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

import mboxgen
import trafficgen

sys.path.insert(0, str(Path(__file__).parent))
from library import page_of

project = "Traffic-gen"
author = "the Traffic-gen authors"
version = release = trafficgen.__version__
copyright = f"{author}, Apache-2.0"  # noqa: A001 - Sphinx's name for it
language = "en"

extensions = ["myst_parser"]
exclude_patterns = ["site", "ISSUE_TEMPLATE.md"]  # a forge finds the template here
myst_heading_anchors = 4  # links to headings as browsers of the checkout make them
nitpicky = True

html_theme = "furo"
html_title = f"Traffic-gen {version}"
html_copy_source = html_show_sourcelink = False
pygments_style, pygments_dark_style = "a11y-light", "a11y-dark"

_LIBRARY = "<!-- the library -->"
_PAGE_LINK = re.compile(r"\]\((?P<path>[^)\s:#]+\.md)(?=[#)])")


def _beyond_docs(app: Sphinx, name: str, source: list[str]) -> None:
    """Say of links to Markdown outside of docs/, which is no page of the book, that the file itself is meant."""
    folder = Path(app.srcdir, name).parent

    def as_file(link: re.Match[str]) -> str:
        beyond = not (folder / link["path"]).resolve().is_relative_to(app.srcdir)
        return link[0].replace("](", "](path:") if beyond else link[0]

    source[0] = _PAGE_LINK.sub(as_file, source[0])


def _library(_app: Sphinx, _name: str, source: list[str]) -> None:
    if _LIBRARY in source[0]:
        source[0] = source[0].replace(_LIBRARY, page_of(trafficgen, mboxgen))


def setup(app: Sphinx) -> None:
    """Register what this file adds to Sphinx."""
    app.connect("source-read", _beyond_docs)
    app.connect("source-read", _library)
