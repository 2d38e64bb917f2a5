"""Text that strangers wrote, made harmless for whoever reads it next.

Takes     what a server said, what a file holds, what was typed
Gives     one line for a terminal or for XML; a cell of CSV; a cell of Markdown
Not here  HTML: the page gets JSON and shows it as text (report.to_html)
"""

from typing import Final

_MARKDOWN: Final = {ord(c): f"&#{ord(c)};" for c in "|<>&`*_[]\\~#"}
_FORMULA: Final = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """`text` with escapes, such as \\x1b, in place of what a terminal acts on or XML 1.0 does not hold.

    Those are control and format characters, also those that turn the direction of text, line ends, and surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def csv_cell(value: object) -> object:
    """`value`; text on one line, and with an apostrophe where a spreadsheet would take it for a formula (OWASP)."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def markdown(text: str) -> str:
    """`text` with nothing in it that Markdown or HTML could act on."""
    return printable(text).translate(_MARKDOWN)
