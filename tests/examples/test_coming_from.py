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

from tests.peers.certificates import Certificate, make_certificate
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
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Of the server that speaks STARTTLS, and its own authority."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[dict[str, str]]:
    """What stands on the pages for a server, and the server."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        api = _free_port()
        identity = ["--certificate", str(certificate.certificate), "--key", str(certificate.key)]
        plain, proxied, lmtp, starttls, tls = (
            stack.enter_context(sink_process("127.0.0.1:0", *options)).address
            for options in (
                ["--api", f"127.0.0.1:{api}", "--xclient", "--xforward"], ["--proxy-protocol"], ["--lmtp"],
                ["--starttls", "--auth", *identity], ["--tls"],
            )
        )  # fmt: skip
        stack.enter_context(sink_process(f"unix:{folder}/smtp.sock"))
        yield {
            "127.0.0.1:2525": plain, "127.0.0.1:2526": proxied, "127.0.0.1:2424": lmtp,
            "127.0.0.1:2587": starttls, "127.0.0.1:2465": tls,
            "127.0.0.1:8000": f"127.0.0.1:{api}", "unix:smtp.sock": f"unix:{folder}/smtp.sock",
        }  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: Certificate) -> None:
    """The files that commands name."""
    message = "From: a@lab.test\nTo: b@lab.test\nSubject: x\n\nhello\n"
    (tmp_path / "message.eml").write_text(message)
    (tmp_path / "body.txt").write_text("hello\n")
    (tmp_path / "corpus.mbox").write_text(f"From a@lab.test Thu Jan  1 00:00:00 2026\n{message}\n")
    (tmp_path / "password").write_text("sesame-open\n")
    (tmp_path / "people.csv").write_text("address,name\nann@lab.test,Ann\nbob@lab.test,Bob\n")
    (tmp_path / "senders.txt").write_text("a@lab.test:3\nb@lab.test  # now and then\n")
    (tmp_path / "run.toml").write_text('body-size = "1kb"\n')
    for name in ("ca.pem", "client.pem"):
        (tmp_path / name).write_bytes(certificate.certificate.read_bytes())
    (tmp_path / "client.key").write_bytes(certificate.key.read_bytes())
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("command", SENDING)
def test_a_command_that_sends(command: str, ports: dict[str, str]) -> None:
    for written, meant in ports.items():
        command = command.replace(written, meant)
    words = shlex.split(command)[1:]
    if {"--dry-run", "--help", "--version"} & set(words):
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
            with smtplib.SMTP("127.0.0.1", sink.port, "client.test", timeout=60) as client:
                assert client.sendmail("a@lab.test", ["b@lab.test"], b"Subject: x\r\n\r\nhello\r\n") == {}
                hidden = words[words.index("--hide") + 1].lower() if "--hide" in words else None
                assert hidden is None or not client.has_extn(hidden)
        taken = "0 messages" if refuses or "--lmtp" in words or words[0].startswith("unix:") else "1 message"
        if "--message-count" in words:  # it ends by itself
            assert f"{taken} accepted" in sink.lines.read()
            assert sink.process.wait(30) == 0
        else:
            assert f"{taken} accepted" in sink.end()


def test_every_row_has_a_command_or_says_why_not() -> None:
    rows = [line for page in BY_OPTION for line in page.splitlines() if re.match(r"\| (?!option)", line)]
    assert len(rows) > 120
    assert [row for row in rows if not (_COMMAND.search(row) or re.search(r"\| no equal", row))] == []


# From their manuals: Postfix 3.7.11, swaks 20201014, Postal 0.76, KumoMTA of 2026-08, smtp-benchmark 1.0.
OPTIONS = {
    "smtp-source": "-4 -6 -A -c -C -d -f -F -l -L -m -M -N -o -r -R -s -S -t -T -v -w",
    "smtp-sink": "-4 -6 -8 -a -A -b -B -c -C -d -D -e -E -f -F -h -H -L -m -M -n -N -p -P -q -Q -r -R -s -S -t -T -u -v"
    " -w -W",
    "postal": "-m -M -t -c -r -s -L -l -a -b -z -Z -f",
    "smtp-benchmark": "-s -m -n -t -b -p -F -T -S -v",
    "kumomta": "--target --domain --domain-suffix --body-size --body-file --concurrency --duration --message-count"
    " --throttle --header --keep-going --starttls --http --http-batch-size --http-defer-spool --http-defer-generation",
    "swaks": """
        --config -s --server -p --port -li --local-interface -lp --local-port --lport --copy-routing -4 -6 --socket
        --pipe -t --to -f --from --ehlo --lhlo -h --helo -q --quit --quit-after --da --drop-after --das
        --drop-after-send --timeout --protocol --pipeline --prdr --force-getpwuid -tls -tlso --tls-optional -tlsos
        --tls-optional-strict -tlsc --tls-on-connect -tlsp --tls-protocol --tls-cipher --tls-verify --tls-ca-path
        --tls-cert --tls-key --tls-get-peer-cert --tls-sni -a --auth -ao --auth-optional -aos --auth-optional-strict
        -au --auth-user -ap --auth-password -ae --auth-extra -am --auth-map -apt --auth-plaintext -ahp
        --auth-hide-password --xclient-addr --xclient-name --xclient-port --xclient-proto --xclient-destaddr
        --xclient-destport --xclient-helo --xclient-login --xclient-reverse-name --xclient-delim --xclient
        --xclient-no-verify --xclient-before-starttls --xclient-optional --xclient-optional-strict --proxy-version
        --proxy --proxy-family --proxy-protocol --proxy-command --proxy-source --proxy-source-port --proxy-dest
        --proxy-dest-port -d --data -dab --dump-as-body -dabsp --dump-as-body-shows-password --body --attach
        --attach-body --attach-type --attach-name -ah --add-header --header --h-NAME -g --no-data-fixup -ndf
        --no-strip-from -nsf -n --suppress-data -stl --show-time-lapse -nih --no-info-hints -nsh --no-send-hints -nrh
        --no-receive-hints -nth --no-hints -raw --show-raw-text --output --output-file --output-file-stdout
        --output-file-stderr -pp --protect-prompt -hr --hide-receive -hs --hide-send -hi --hide-informational -ha
        --hide-all -S --silent --support --dump-mail --dump --help --version
    """,
}


@pytest.mark.parametrize("tool", OPTIONS)
def test_no_option_of_an_older_tool_is_left_out(tool: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "coming-from" / f"{tool}.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    named = {option for row in rows for option in re.findall(r"(?<![\w-])--?[\w-]+", row)}
    assert set(OPTIONS[tool].split()) - named == set()


def test_options_that_stand_for_words_of_other_tools_are_there() -> None:
    rows = [row.split("|")[2] for page in BY_WORD for row in page.splitlines() if row.startswith("| ")]
    known = set(re.findall(r"`(--[\w-]+)", (PAGES[0].parents[1] / "cli.md").read_text()))
    named = {option for row in rows for option in re.findall(r"`(--[\w-]+)", row)}
    assert len(named) > 20
    assert named - known == set()
