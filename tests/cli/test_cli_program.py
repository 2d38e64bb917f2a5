"""The program: which command runs, what goes where, and the exit code."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import trafficgen
from trafficgen.cli import program, send
from trafficgen.cli.program import call, main
from trafficgen.cli.reference import reference
from trafficgen.errors import ExitCode, PlanError, ResultsError, SetupError
from trafficgen.plan import TcpTarget, UnixTarget, parse_listen


class FakeResults:
    """As much of `Results` as the command touches."""

    code = ExitCode.DONE

    def exit_code(self, *, keep_going):
        return self.code

    def to_json(self):
        return '{"run": 1}\n'


@pytest.fixture
def fake_run(monkeypatch):
    """Replace the run and its summary; gives the plans that were run."""
    plans = []

    def run(resolved, *_told):
        plans.append(resolved.plan)
        return FakeResults()

    monkeypatch.setattr(send, "_run", run)
    monkeypatch.setattr(
        "trafficgen.report.to_text.write_summary", lambda results, stream: stream.write("the summary\n")
    )
    return plans


def test_no_command_means_send(fake_run):
    assert call(["--message-count", "5"]) is ExitCode.DONE
    assert call(["send", "--message-count", "6"]) is ExitCode.DONE
    assert call([]) is ExitCode.DONE
    assert [plan.max_messages for plan in fake_run] == [5, 6, None]


def test_summary_goes_to_stdout_and_notices_to_stderr(fake_run, capsys):
    call(["--message-count", "5", "--seed", "1", "--domain", "a.com", "--domain", "a.com"])
    out, err = capsys.readouterr()
    assert out == "the summary\n"
    assert err == "1 of 2 domains are named again; their weights add up: a.com 2\n"


def test_quiet_leaves_notices_out(fake_run, capsys):
    call(["--message-count", "5", "--quiet"])
    assert capsys.readouterr().err == ""


def test_json_to_stdout_sends_the_summary_to_stderr(fake_run, capsys):
    call(["--message-count", "5", "--seed", "1", "--json", "-"])
    assert capsys.readouterr() == ('{"run": 1}\n', "the summary\n")


def test_json_to_a_file(fake_run, capsys, tmp_path):
    call(["--message-count", "5", "--json", str(tmp_path / "r.json")])
    assert (tmp_path / "r.json").read_text() == '{"run": 1}\n'
    assert capsys.readouterr().out == "the summary\n"


def test_json_file_that_cannot_be_written_stops_before_the_run(fake_run, capsys, tmp_path):
    assert call(["--message-count", "5", "--seed", "1", "--json", str(tmp_path / "no" / "r.json")]) is ExitCode.USAGE
    assert fake_run == []
    assert re.search(r"no such file or directory \(--json\)\n$", capsys.readouterr().err)


def test_wrong_plan_leaves_an_older_json_file_alone(fake_run, tmp_path):
    (tmp_path / "r.json").write_text("old")
    assert call(["--message-count", "0", "--json", str(tmp_path / "r.json")]) is ExitCode.USAGE
    assert (tmp_path / "r.json").read_text() == "old"


def test_missing_corpus_stops_before_the_run(fake_run, capsys, tmp_path):
    assert call(["--mbox", str(tmp_path / "none.mbox"), "--quiet"]) is ExitCode.USAGE
    assert fake_run == []
    assert capsys.readouterr().err.endswith("(--mbox)\n")


def test_exit_code_is_that_of_the_results(fake_run, monkeypatch):
    monkeypatch.setattr(FakeResults, "code", ExitCode.VERDICT_FAILED)
    assert call(["--message-count", "5"]) is ExitCode.VERDICT_FAILED


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PlanError("bad", field="rate", flag="--rate"), 2, "bad (--rate)"),
        (SetupError("cannot resolve it"), 1, "cannot resolve it"),
        (ResultsError("damaged"), 122, "damaged"),
        (KeyboardInterrupt(), 105, "interrupted"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, '"/x": permission denied'),
    ],
)
def test_foreseen_errors_are_one_line_and_a_code(monkeypatch, capsys, error, code, words):
    def run(*_told):
        raise error

    monkeypatch.setattr(send, "_run", run)
    assert call(["--message-count", "5", "--quiet"]) == code
    assert capsys.readouterr().err.strip() == f"traffic-gen: {words}"


def test_bug_is_not_hidden(monkeypatch):
    monkeypatch.setattr(send, "_run", lambda *_told: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call(["--message-count", "5"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sned"], 'no such command "sned"; did you mean send?'),
        (["zzz"], 'no such command "zzz"; see traffic-gen --help'),
        (["--wat"], 'no such option "--wat"; see traffic-gen send --help'),
        (["--mesage-count", "5"], 'no such option "--mesage-count"; did you mean --message-count?'),
        (["--message_count=5"], "did you mean --message-count?"),
        (["sink", "2526", "--ledgr", "x"], "did you mean --ledger?"),
        (["sink", "stauts", "8026"], "did you mean status 8026?"),
        (["gate", "--a", "127.0.0.1", "--", "--mesage-count", "5"], "did you mean --message-count?"),
        (["report", "x", "--jsn"], "did you mean --json?"),
        (["report", "--html", "x.html", "run.json"], "to write to it: --html -o x.html (--html)"),
        (["report", "x", "--live-port", "1"], 'no such option "--live-port" of report; it is an option of send, '),
        (["sink", "0", "--concurrency", "1"], 'no such option "--concurrency" of sink; it is an option of send'),
        (["--http"], "injection is asked for by its URL: --target http://HOST:8000/api/inject/v1"),
        (["--http-batch-size", "100"], "expected a target http://HOST[:PORT]/api/inject/v1 (--http-batch-size)"),
        (["send", "extra"], "unexpected extra argument"),
        (["--concurrency", "x"], 'expected a whole number such as 100, got "x" (--concurrency)'),
        (["sink", "--workers", "0"], 'expected a whole number from 1 to 1024, got "0" (--workers)'),
        (["sink", "--message-count", "1.5"], 'expected a whole number of at least 1 such as 100, got "1.5"'),
        (["calibrate", "--sessions", "many"], 'expected a whole number such as 100, got "many" (--sessions)'),
        (["--duration"], "requires an argument"),
        (["--pipelining", "maybe"], "'maybe' is not one of 'auto', 'off'"),
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments, words):
    assert call(arguments) is ExitCode.USAGE
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_version(capsys):
    assert call(["--version"]) is ExitCode.DONE
    assert capsys.readouterr().out == f"traffic-gen, version {trafficgen.__version__}\n"


@pytest.mark.parametrize("asked", ["-h", "--help"])
@pytest.mark.parametrize("name", program.COMMANDS)
def test_every_command_has_help_with_an_example(capsys, name, asked):
    assert call([name, asked]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert re.search(rf"^    traffic-gen ({name} )?[^\n]+$", out.partition("Example")[2], re.MULTILINE)


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_of_the_program_shows_commands_and_options_of_send(capsys, asked):
    assert call([asked]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in program.COMMANDS)
    for option in send.command.params:
        assert option.opts[0] in out


@pytest.mark.parametrize("words", [[], ["sink"], ["sink", "status"], ["help"]])
def test_help_says_what_the_option_says(capsys, words):
    assert call(["help", *words]) is ExitCode.DONE
    said = capsys.readouterr().out
    assert call([*words[:1], "--help"]) is ExitCode.DONE
    assert said == capsys.readouterr().out


def test_help_of_no_command_suggests_one(capsys):
    assert call(["help", "snik"]) is ExitCode.USAGE
    assert capsys.readouterr().err == 'traffic-gen: no such command "snik"; did you mean sink?\n'


def test_reference_page_is_what_the_program_says():
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text(encoding="utf-8") == reference(), "python -m trafficgen.cli.reference > docs/cli.md"


def test_presets_are_listed_with_their_sources(capsys):
    assert call(["--list-presets"]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "mapp2019-us" in out
    assert "Mapp Global Provider Report 2019" in out
    assert "SPECmail2001 Architecture White Paper" in out


# -- as a process ---------------------------------------------------------------------------------------


def process(*arguments, **settings):
    command = [sys.executable, "-m", "trafficgen", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


def test_module_is_the_program():
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"traffic-gen, version {trafficgen.__version__}\n")


def test_reader_that_goes_away_is_boring():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "trafficgen", "--list-presets"]
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(("line", "wanted"), [("", "sink"), ("si", "sink"), ("--dom", "--domain-suffix")])
def test_shell_completion(line, wanted):
    environment = os.environ | {
        "_TRAFFIC_GEN_COMPLETE": "bash_complete", "COMP_WORDS": f"traffic-gen {line}", "COMP_CWORD": "1",
    }  # fmt: skip
    assert f"plain,{wanted}" in process(env=environment).stdout.split()


# -- dry run --------------------------------------------------------------------------------------------


def test_dry_run_shows_plan_and_two_messages(capsys):
    arguments = [
        "--dry-run",
        "--seed",
        "42",
        "--run-id",
        "9f3a6c1e02b4d857",
        "--domain",
        "gmail.com:3",
        "--domain",
        "b.com",
    ]
    assert (
        call([*arguments, "--target", "no.such.host.test:2025", "--rate", "100/s", "--message-count", "500"])
        is ExitCode.DONE
    )
    out, err = capsys.readouterr()
    assert err == ""
    assert "target      no.such.host.test:2025\n" in out
    assert "load        100 messages/s, evenly spaced (open model)\n" in out
    assert "ends        after 500 messages; then up to 10.0 s for what is on its way\n" in out
    assert "   75.00%  gmail.com.traffic-gen.test\n" in out
    assert out.count("MAIL FROM:<") == out.count("\n.\n") == 2
    assert "X-Traffic-Gen: 9f3a6c1e02b4d857 000000000001 " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "as fast as the server answers (closed model)"),
        (["--stage", "30s:200", "--stage", "1m:1000"], "after 39,000 messages or 90.0 s"),
        (["--arrivals", "poisson", "--rate", "5/s"], "5 messages/s, at random (Poisson) (open model)"),
        (["--body-size", "spec2001"], "messages with headers of 1 kB to 2.68 MB"),
        (["--body-size", "10kb", "--body-size", "80kb"], "bodies of 10 kB to 80 kB, 45 kB on average (10kb, 80kb)"),
        (["--users", "50,zipf,tag"], "50 users a domain, popular by Zipf's law, exponent 1, a new +tag every time"),
        (["--recipients", "spec2001"], "2.00 per message on average"),
        (["--header", "X-T: {a:3|b:1}"], "header      X-T: a (75.0%) | b (25.0%)"),
        (["--domain-preset", "mapp2019-us"], "recipient domains"),
        (["--target", "::1", "--domain-suffix", ""], "this run needs --allow-real-domains"),
        (["--messages-per-session", "1", "--pipelining", "off"], "1 message each, no pipelining"),
        (["--keep-going"], "counted, the run carries on"),
        (["--keep-going", "--retry", "any:2:5s"], "what was not accepted, up to 2 more each, 5.00 s after each try"),
        (
            [
                "--xclient",
                "LOGIN=joe",
                "--xclient",
                "LOGIN=ann",
                "--xclient-from",
                "192.0.2.0/24",
                "--ehlo-name",
                "a.test",
            ],
            "client      EHLO a.test, XCLIENT ADDR=192.0.2.0-192.0.2.255 LOGIN=joe|ann\n",
        ),
        (
            ["--proxy-protocol", "v2", "--proxy-from", "192.0.2.7", "--source-ip", "127.0.0.2"],
            "client      from 127.0.0.2, PROXY header v2 for 192.0.2.7\n",
        ),
        (
            ["--xforward", "IDENT=x", "--messages-per-session", "1", "--timeout", "5s"],
            "client      XFORWARD IDENT=x\ntime limits 30.0 s to connect, 5.00 s for a reply\n",
        ),
        (["--starttls", "--tls-min", "1.2", "--sni", "mx.test"], "TLS         SNI mx.test, at least 1.2\n"),
        (["--notify", "SUCCESS,DELAY", "--mt-priority", "3"], "extensions  NOTIFY=SUCCESS,DELAY, MT-PRIORITY=3\n"),
    ],
)
def test_dry_run_says_what_would_happen(capsys, arguments, words):
    assert call([*arguments, "--dry-run"]) is ExitCode.DONE
    assert words in capsys.readouterr().out


def test_dry_run_refuses_what_a_run_would(capsys, tmp_path):
    log_in = ["--starttls", "--auth-user", "me", "--auth-password-file", str(tmp_path / "f"), "--dry-run"]
    assert call(log_in) is ExitCode.USAGE
    assert "cannot read the password file" in capsys.readouterr().err
    (tmp_path / "f").write_text("secret\n")
    assert call(log_in) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "STARTTLS, any certificate, logged in as me" in out
    assert "secret" not in out


def test_dry_run_writes_no_terminal_codes(capsys, tmp_path):
    (tmp_path / "body").write_bytes(b"\x1b[31mred\x07 gr\xfcn\n.dot\n")
    assert call(["--dry-run", "--body-file", str(tmp_path / "body")]) is ExitCode.DONE
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31mred\\x07 gr\\xfcn\n..dot\n.\n" in out


# -- sink -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2526", TcpTarget("127.0.0.1", 2526)),
        ("127.0.0.1:2526", TcpTarget("127.0.0.1", 2526)),
        ("[::1]:2526", TcpTarget("::1", 2526)),
        ("unix:/tmp/s", UnixTarget("/tmp/s")),
        ("localhost:0", TcpTarget("localhost", 0)),
        ("0", TcpTarget("127.0.0.1", 0)),
    ],
)
def test_where_a_sink_listens(text, expected):
    assert parse_listen(text) == expected


def test_a_pipe_is_no_file_for_several_workers(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert call(["sink", "0", "--workers", "2", "--responses", str(tmp_path / "pipe")]) is ExitCode.USAGE
    assert "expected a file that every worker can read, got the pipe" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["99999", "localhost:", "a:x", "9" * 5000, "inet:2526", "*:2526", "me@a.test"])
def test_where_a_sink_cannot_listen(capsys, text):
    assert call(["sink", text]) is ExitCode.USAGE
    err = capsys.readouterr().err
    assert re.search(r"expected (a port|HOST)", err)
    assert err.endswith("([HOST:]PORT)\n")


ADDRESS_OPTIONS = (
    ["--target"],
    ["--target", "127.0.0.1", "--wait-for-delivery", "1s", "--sink-api"],
    ["sink"],
    ["sink", "status"],
    ["sink", "0", "--api"],
    ["sink", "0", "--bounce-share", "1%", "--bounce-to"],
    ["gate", "--a"],
    ["gate", "--a", "127.0.0.1", "--b"],
)


@pytest.mark.parametrize(
    "text", ["lmtp:127.0.0.1:24", "http://127.0.0.1/", "inet:25", "smtp://a", "/run/s", "me@a.test"]
)
@pytest.mark.parametrize("before", ADDRESS_OPTIONS, ids=" ".join)
def test_what_is_no_address_of_a_server_is_refused_by_its_shape(monkeypatch, capsys, before, text):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("a resolver was asked"))
    assert call([*before, text]) is ExitCode.USAGE
    err = capsys.readouterr().err
    flag = before[-1] if before[-1].startswith("--") else "[HOST:]PORT"
    assert err.startswith("traffic-gen: expected HOST[:PORT], [IPv6]:PORT or unix:/path")
    assert err.endswith(f'got "{text}" ({flag})\n')


def test_sink_serves_where_it_was_told_and_talks_to_stderr(monkeypatch, capsys):
    asked = []

    def serve(orders, *, say):
        asked.append(orders.listen)
        say("listening")
        return 5

    monkeypatch.setattr("trafficgen.sink.serve.serve", serve)
    assert call(["sink", "2526"]) is ExitCode.DONE
    assert asked == [TcpTarget("127.0.0.1", 2526)]
    assert capsys.readouterr() == ("", "listening\n")


def test_an_end_of_file_inside_is_not_told_as_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """click takes EOFError for Ctrl-D at a prompt; here it can only be an answer that was cut off, and a bug."""

    def cut_off(_path: object) -> object:
        raise EOFError

    monkeypatch.setattr("trafficgen.measure.results.read_results", cut_off)
    with pytest.raises(EOFError):
        call(["report", "x.json"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_behind_the_last_word_leaves_the_exit_code_as_it_is(number: signal.Signals) -> None:
    """A second Ctrl-C often comes when all is said and the interpreter is about to end."""
    late = f"import atexit, os; atexit.register(os.kill, os.getpid(), {int(number)})"
    run = subprocess.run(
        [sys.executable, "-c", f"{late}; from trafficgen.cli.program import main; main(['sned'])"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr.count("\n")) == (ExitCode.USAGE, 1)


def test_a_signal_while_an_interrupt_is_told_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: object) -> ExitCode:
        raise KeyboardInterrupt

    ended: list[int] = []
    monkeypatch.setattr("trafficgen.cli.program.call", interrupted)
    monkeypatch.setattr("trafficgen.cli.program.prepare_streams", lambda: None)
    monkeypatch.setattr("trafficgen.cli.program.raise_on_signals", lambda: None)
    monkeypatch.setattr("trafficgen.cli.program.exit_on_signals", ended.append)
    with pytest.raises(SystemExit) as end:
        main([])
    assert (end.value.code, ended) == (ExitCode.INTERRUPTED, [ExitCode.INTERRUPTED])
