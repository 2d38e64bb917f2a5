"""Every command in a table of docs/coming-from sends all its mail, or its sink takes mail. Blocks: test_pages."""

import json
import re
import shlex
import smtplib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.sink.sink_process import sink_process
from trafficgen import Results
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode

PAGES = sorted((Path(__file__).parents[2] / "docs" / "coming-from").glob("*.md"))
BY_OPTION = [page.read_text() for page in PAGES if "| option |" in page.read_text()]
BY_WORD = [page.read_text() for page in PAGES if page.stem in ("imaptest", "k6")]
TEXT = "\n".join(page.read_text() for page in PAGES)
_COMMAND = re.compile(r"`(traffic-gen(?: sink)? [^`]*--?[^`]*)`|`(traffic-gen sink [^`]*)`")

COMMANDS = list(dict.fromkeys(next(filter(None, found)) for found in _COMMAND.findall(TEXT)))
SENDING = [command for command in COMMANDS if not command.startswith("traffic-gen sink")]
SINKS = [command for command in COMMANDS if command.startswith("traffic-gen sink")]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What stands on the pages for a server, and the server."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        api = _free_port()
        plain, lmtp, starttls, tls = (
            stack.enter_context(sink_process("127.0.0.1:0", *options)).address
            for options in (["--api", f"127.0.0.1:{api}"], ["--lmtp"], ["--starttls", "--auth"], ["--tls"])
        )
        stack.enter_context(sink_process(f"unix:{folder}/smtp.sock"))
        yield {
            "127.0.0.1:2525": plain, "127.0.0.1:2424": lmtp, "127.0.0.1:2587": starttls, "127.0.0.1:2465": tls,
            "127.0.0.1:8000": f"127.0.0.1:{api}", "unix:smtp.sock": f"unix:{folder}/smtp.sock",
        }  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that commands name."""
    message = "From: a@lab.test\nTo: b@lab.test\nSubject: x\n\nhello\n"
    (tmp_path / "message.eml").write_text(message)
    (tmp_path / "body.txt").write_text("hello\n")
    (tmp_path / "corpus.mbox").write_text(f"From a@lab.test Thu Jan  1 00:00:00 2026\n{message}\n")
    (tmp_path / "password").write_text("sesame-open\n")
    (tmp_path / "people.csv").write_text("address,name\nann@lab.test,Ann\nbob@lab.test,Bob\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("command", SENDING)
def test_a_command_that_sends(command: str, ports: dict[str, str]) -> None:
    for written, meant in ports.items():
        command = command.replace(written, meant)
    words = shlex.split(command)[1:]
    if "--dry-run" in words:
        assert call(words) is ExitCode.DONE
        return
    assert call([*words, "--workers", "1", "--json", "run.json"]) is ExitCode.DONE
    messages = Results.from_dict(json.loads(Path("run.json").read_text())).messages
    assert messages.accepted == messages.started > 0
    if "--message-count" in words:
        assert messages.accepted == int(words[words.index("--message-count") + 1])


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("command", SINKS)
def test_a_command_that_receives(command: str) -> None:
    words = [word.replace("127.0.0.1:2525", "127.0.0.1:0") for word in shlex.split(command)[2:]]
    refuses = "--reject" in words or "--drop" in words or "--stall" in words
    with sink_process(*words) as sink:
        if not (refuses or "--lmtp" in words or words[0].startswith("unix:")):
            with smtplib.SMTP("127.0.0.1", sink.port, "client.test", timeout=30) as client:
                assert client.sendmail("a@lab.test", ["b@lab.test"], b"Subject: x\r\n\r\nhello\r\n") == {}
                hidden = words[words.index("--hide") + 1].lower() if "--hide" in words else None
                assert hidden is None or not client.has_extn(hidden)
        taken = "0" if refuses or "--lmtp" in words or words[0].startswith("unix:") else "1"
        assert f"{taken} messages accepted" in sink.end()


def test_every_row_has_a_command_or_says_why_not() -> None:
    rows = [line for page in BY_OPTION for line in page.splitlines() if re.match(r"\| (?!option)", line)]
    assert len(rows) > 120
    plain = [row for row in rows if "`traffic-gen" not in row]
    assert [row for row in plain if not re.search(r"\| (no equal|always|`--)", row)] == []


def test_options_that_stand_for_words_of_other_tools_are_there() -> None:
    rows = [row.split("|")[2] for page in BY_WORD for row in page.splitlines() if row.startswith("| ")]
    known = set(re.findall(r"`(--[\w-]+)", (PAGES[0].parents[1] / "cli.md").read_text()))
    named = {option for row in rows for option in re.findall(r"`(--[\w-]+)", row)}
    assert len(named) > 20
    assert named - known == set()
