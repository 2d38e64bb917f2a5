"""The program as a user runs it: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import pytest

import trafficgen
from tests.engine.test_faults import Refuses
from tests.engine.test_stopping import Holds
from tests.peers.certificates import Certificate
from tests.peers.independent import PASSWORD, USER, aiosmtpd_server
from tests.peers.ports import free_port
from tests.peers.private_sink import private_sink
from tests.peers.running import SCHEMA
from tests.peers.scripted import PATIENCE_S, scripted

MODULE = (sys.executable, "-m", "trafficgen")


def run(*arguments: str, expect: int = 0, command: tuple[str, ...] = MODULE, **environment: str) -> tuple[str, str]:
    """stdout and stderr of one call that ends with this exit code, and without a traceback whatever it was."""
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def results_of(text: str) -> trafficgen.Results:
    """Results that fit the schema."""
    plain = json.loads(text)
    jsonschema.validate(plain, SCHEMA)
    return trafficgen.Results.from_dict(plain)


def test_the_first_run(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    script = Path(sys.executable).parent / "traffic-gen"
    out, err = run(
        "--message-count", "5000", "--domain", "gmail.com:67.4", "--domain", "yahoo.com:5.9", "--json", str(path),
        command=(str(script),) if script.exists() else MODULE,
    )  # fmt: skip
    assert "no --target given: sending to the embedded sink at 127.0.0.1:" in err
    assert "5,000" in out
    results = results_of(path.read_text())
    assert results.messages.accepted == 5_000
    assert results.ledger is not None
    assert results.ledger.clean
    assert results.ledger.received == 5_000


def test_json_on_stdout_is_nothing_but_json() -> None:
    out, err = run("--message-count", "50", "--seed", "1", "--json", "-", "--quiet")
    results = results_of(out)
    assert results.messages.accepted == 50
    assert results.run.seed == 1
    assert "50" in err, "the summary goes where people look"


def test_options_from_the_environment() -> None:
    out, _ = run("--json", "-", TRAFFIC_GEN_MESSAGE_COUNT="30", TRAFFIC_GEN_DOMAIN="a.com:1 b.com:3")
    results = results_of(out)
    assert results.messages.planned == 30
    assert {name: domain.weight for name, domain in results.domains.items()} == {"a.com": 0.25, "b.com": 0.75}


def test_a_target_of_the_users_own() -> None:
    with private_sink() as sink:
        out, err = run("--target", f"127.0.0.1:{sink.port}", "--message-count", "100", "--concurrency", "5")
        assert sink.received == 100
    assert f"target 127.0.0.1:{sink.port} is at 127.0.0.1:{sink.port}" in err
    assert "100" in out


KUMO_PERFORMANCE = (
    "--target localhost:2025 --keep-going --concurrency 400 --body-size 60kb --duration 1500 "
    "--domain-suffix testingdomain.tld --domain aol.com:1.5 --domain gmail.com:67.4 --domain yahoo.com:5.9 "
    "--domain hotmail.com:12.1"
)


@pytest.mark.parametrize(
    "line",
    [
        KUMO_PERFORMANCE,
        "--target 127.0.0.1:2025 --message-count 100000 --body-size 100kb --concurrency 100 --keep-going",
        "--target 127.0.0.1:2025 --throttle 100/s --header 'X-Tenant: one' --starttls --duration 10",
    ],
)
def test_command_lines_of_kumomtas_documentation_are_understood(line: str) -> None:
    import shlex

    out, _ = run(*shlex.split(line), "--dry-run")
    assert "MAIL FROM:<" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--domain", "a.com:nan"], "--domain"),
        (["--target", "8.8.8.8"], "--allow-public-target"),
        (["--target", "127.0.0.1", "--domain-suffix", ""], "--allow-real-domains"),
        (["--header", "X-A: b\r\nBcc: c@c.test"], "--header"),
        (["--mbox", "/dev/null"], "--mbox"),
        (["--no-such-option"], "--help"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    out, err = run(*arguments, expect=2)
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("traffic-gen: ")]
    assert words in line
    assert err.splitlines()[-1] == line


def test_an_unknown_host_is_one_line_and_exit_code_1() -> None:
    out, err = run("--target", "nowhere.invalid", "--message-count", "1", expect=1)
    assert out == ""
    assert err.splitlines()[-1].startswith('traffic-gen: cannot resolve "nowhere.invalid": ')


def test_the_first_error_ends_the_run_and_shows_the_servers_words() -> None:
    with scripted(Refuses) as server:
        out, err = run("--target", f"127.0.0.1:{server.port}", "--message-count", "20", expect=1)
    assert "554 5.7.1 no mail from you" in out + err


def test_with_keep_going_errors_are_counted_and_nothing_accepted_is_no_success() -> None:
    with scripted(Refuses) as server:
        out, _ = run(
            "--target", f"127.0.0.1:{server.port}", "--message-count", "4", "--keep-going", "--concurrency", "4",
            "--json", "-", expect=1,
        )  # fmt: skip
    assert results_of(out).messages.failed == 4


def test_a_password_is_shown_nowhere(tmp_path: Path, certificate: Certificate) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n", encoding="utf-8")
    with aiosmtpd_server(starttls=certificate.server_context(), auth=True) as (port, mailbox):
        out, err = run(
            "--target", f"127.0.0.1:{port}", "--message-count", "5", "--starttls", "--insecure", "--auth-user", USER,
            "--auth-password-file", str(path), "--json", "-",
        )  # fmt: skip
        assert len(mailbox.messages) == 5
    assert results_of(out).messages.accepted == 5
    assert PASSWORD not in out + err
    dry, _ = run("--starttls", "--auth-user", USER, "--auth-password-file", str(path), "--dry-run")
    assert PASSWORD not in dry


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_everybody_ends_the_run_in_good_order(tmp_path: Path, signal_number: signal.Signals) -> None:
    class HoldsHere(Holds):
        release = threading.Event()
        holding = threading.Semaphore(0)

    path = tmp_path / "run.json"
    with scripted(HoldsHere) as server:
        process = subprocess.Popen(
            [*MODULE, "--target", f"127.0.0.1:{server.port}", "--message-count", "1000", "--concurrency", "4",
             "--workers", "2", "--json", str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        for _ in range(4):
            assert HoldsHere.holding.acquire(timeout=PATIENCE_S)
        os.killpg(process.pid, signal_number)
        HoldsHere.release.set()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 105, out + err
    assert "Traceback" not in err
    assert "stopping: up to 10 s; again = now" in err
    found = results_of(path.read_text())
    # Whether a session's next message is told to stop before or after it starts is a race; that it is counted is not.
    assert found.messages.accepted >= 4
    assert found.messages.accepted + found.messages.not_started == 1000
    assert found.stopped_by.value == "interrupted"


def test_the_sink_alone_takes_mail_until_it_is_told_to_stop() -> None:
    port = free_port()
    process = subprocess.Popen([*MODULE, "sink", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert f"listening on 127.0.0.1:{port};" in process.stderr.readline()
        out, _ = run("--target", f"127.0.0.1:{port}", "--message-count", "200", "--json", "-")
        assert results_of(out).messages.accepted == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(60)
    assert process.returncode == 0
    assert "200 messages accepted" in out + err
    assert "Traceback" not in err
