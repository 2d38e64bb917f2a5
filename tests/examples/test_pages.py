"""Every command of the book and of the README is run as it stands there, or says why not."""

import re
from pathlib import Path

import pytest

from tests.examples.pages import RUN, SHOWN, blocks, run_page

ROOT = Path(__file__).parents[2]
_NOT_HERE = (
    "cli.md",  # made from the program, whose examples have tests of their own
    "project",  # pages of the top level, by their titles only
    "ISSUE_TEMPLATE.md",  # no page of the book
)
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if not {*path.relative_to(ROOT).parts} & {*_NOT_HERE}
]
WITH_COMMANDS = [path for path in PAGES if any(block.kind in RUN for block in blocks(path.read_text()))]


@pytest.mark.timeout(400)  # a page is many commands
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_a_page_do_as_it_says(page: Path, tmp_path: Path) -> None:
    ran = run_page(page.read_text(), tmp_path)
    assert ran == sum(block.kind in RUN and not block.not_run for block in blocks(page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_block_says_what_it_is_and_no_command_stands_outside_of_one(page: Path) -> None:
    text = page.read_text()
    found = blocks(text)
    assert text.count("```") == 2 * len(found), "a fence that the tests do not see"
    assert {block.kind for block in found} <= {*RUN, *SHOWN, "{toctree}"}
    assert [block.text for block in found if block.not_run is not None and len(block.not_run) < 10] == []
    outside = re.findall(r"^(?: {4,}|\t)(?:traffic-gen|mboxgen|python3?|from|import) .*$", text, re.MULTILINE)
    assert outside == []


def test_what_a_page_says_wrong_is_found(tmp_path: Path) -> None:
    wrong = {
        "```sh\nexit 3\n```\n": "ended with 3",
        "<!-- ends with 99 -->\n```sh\ntrue\n```\n": "ended with 0",
        "```sh\necho 'sent   5'\n```\n\n```output\nsent   7\nlost   0\n```\n": "lost",
        "<!-- tested with\n5m: 1s\n-->\n```sh\ntest 5m = 5m0\n```\n": "test 1s = 5m0",
        "<!-- goes on: ready -->\n```sh\necho no\n```\n": "no",
        "```python\nassert 1 == 2\n```\n": "AssertionError",
    }
    for number, (page, words) in enumerate(wrong.items()):
        (folder := tmp_path / str(number)).mkdir()
        with pytest.raises(AssertionError, match=re.escape(words)):
            run_page(page, folder)
