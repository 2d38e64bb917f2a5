"""The first sessions of a run are shown as swaks shows its own."""

import base64
import re
import subprocess
from pathlib import Path

import pytest

import trafficgen
from tests.conftest import program
from tests.end_to_end.test_command_line import run
from tests.peers.certificates import Certificate
from tests.peers.independent import PASSWORD, USER, aiosmtpd_server
from tests.peers.ports import free_port
from tests.peers.private_sink import private_sink
from tests.peers.running import Counts, counts, plan_for
from tests.sink.sink_process import SinkProcess, sink_process
from trafficgen import parse_target

_LINE = re.compile(r"( *\d+\.\d{6}) (===|\*\*\*|<-|<~|<\*\*|<~\*| ->| ~>)( .*)?")


def shape(lines: list[str]) -> list[str]:
    """Marks with what the server said, and with the first words of what the client said; messages as one line."""
    found: list[str] = []
    in_message = False
    for line in lines:
        mark, words = line[:4].strip(), line[4:].strip()
        if in_message:
            in_message = words != "."
        elif mark in ("->", "~>"):
            found.append(f"{mark} {re.split('[: ]', words)[0]}")
            in_message = words == "DATA"
        elif mark != "===" or words.startswith(("Trying", "Connected", "TLS started", "Connection closed")):
            found.append(f"{mark} {words}" if mark != "===" else " ".join([mark, *words.split()[:2]]))
    return found


def ours(sink: SinkProcess, tmp_path: Path, *options: str) -> list[str]:
    """The trace of one message, without times."""
    scheme = "lmtp://" if "--lmtp" in options else ""
    _, err = run(
        "--target", scheme + sink.address, "--message-count", "1", "--concurrency", "1", "--trace", "1",
        "--body-size", "1kb", "--pipelining", "off", *(option for option in options if option != "--lmtp"),
        expect=1 if "--keep-going" in options else 0,  # the only message is refused then
    )  # fmt: skip
    found = [_LINE.fullmatch(line) for line in err.splitlines()]
    lines = [line for line in found if line is not None]
    times = [float(line[1]) for line in lines]
    assert times == sorted(times)
    return [f"{line[2]:<4}{(line[3] or '').strip()}" for line in lines]


@pytest.mark.parametrize(
    ("sink_options", "our_options", "swaks_options"),
    [
        ([], [], []),
        (["--reject", "dot:552"], ["--keep-going"], []),
        (["--lmtp"], ["--lmtp"], ["--protocol", "LMTP"]),
        (["--starttls"], ["--starttls"], ["-tls"]),
        (
            ["--starttls", "--auth"],
            ["--starttls", "--auth-user", "joe", "--auth-password-file", "password"],
            ["-tls", "--auth", "PLAIN", "--auth-user", "joe", "--auth-password", "sesame-open"],
        ),
    ],
    ids=["plain", "refused", "lmtp", "starttls", "auth"],
)
def test_a_trace_has_the_shape_of_a_transcript_of_swaks(
    sink_options: list[str], our_options: list[str], swaks_options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("sesame-open\n")
    our_options = [str(tmp_path / option) if option == "password" else option for option in our_options]
    with sink_process("127.0.0.1:0", *sink_options) as sink:
        swaks = [program("swaks", "swaks"), "--server", sink.address, "--to", "u@lab.test", "--from", "a@lab.test"]
        theirs = subprocess.run([*swaks, *swaks_options], capture_output=True, text=True, timeout=60, check=False)
        lines = ours(sink, tmp_path, *our_options)
    assert "sesame" not in "\n".join(lines)
    expected = shape(theirs.stdout.splitlines() + theirs.stderr.splitlines())
    without_what_swaks_says_behind = [line for line in expected if not line.startswith("*** Remote")]
    assert shape(lines) == without_what_swaks_says_behind


def test_a_secret_is_in_no_line_of_a_real_session(tmp_path: Path, certificate: Certificate) -> None:
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n", encoding="utf-8")
    with aiosmtpd_server(starttls=certificate.server_context(), auth=True) as (port, mailbox):
        out, err = run(
            "--target", f"127.0.0.1:{port}", "--starttls", "--auth-user", USER, "--auth-password-file", str(password),
            "--message-count", "3", "--concurrency", "2", "--body-size", "1kb", "--trace", "5", "--quiet",
        )  # fmt: skip
        assert len(mailbox.messages) == 3
    assert "~> AUTH" in err
    assert "***" in err
    shown = out + err
    for secret in (PASSWORD, base64.b64encode(PASSWORD.encode()).decode(),
                   base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()):  # fmt: skip
        assert secret not in shown


def test_of_many_sessions_the_first_are_shown_each_under_its_number() -> None:
    lines: list[str] = []
    with private_sink() as sink:
        plan = plan_for(sink.port, messages=30, sessions=3, workers=2, session={"max_messages": 1}, trace_sessions=4)
        assert counts(trafficgen.run(plan, trace=lines.append)) == Counts(accepted=30)
    assert {line for line in lines if line.startswith("session")} == {f"session {n}:" for n in (1, 2, 3, 4)}
    said = [line[10:] for line in lines]
    assert said.count(" -> QUIT") == said.count("=== Connection closed with remote host.") == 4
    assert sum("MAIL FROM" in line for line in said) == 4


def test_a_session_that_cannot_be_opened_says_why() -> None:
    unused_port = free_port()
    lines: list[str] = []
    plan = plan_for(parse_target(f"127.0.0.1:{unused_port}"), messages=1, trace_sessions=1)
    assert counts(trafficgen.run(plan, trace=lines.append)) == Counts(failed=1)
    assert [line[10:] for line in lines] == [
        f"=== Trying 127.0.0.1:{unused_port}...",
        f"*** connection refused at CONNECT: 127.0.0.1:{unused_port}: Connection refused",
    ]


def test_without_a_trace_nothing_is_shown_() -> None:
    lines: list[str] = []
    with private_sink() as sink:
        trafficgen.run(plan_for(sink.port, messages=3), trace=lines.append)
    assert lines == []
