"""Whatever is typed or written into a file: a plan, or one line that says what is wrong. Never a traceback."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mboxgen.cli import make
from trafficgen.cli import sink
from trafficgen.cli.gate import command as gate
from trafficgen.cli.grouped import GroupedOption
from trafficgen.cli.options import SendOptions
from trafficgen.cli.planning import make_plan
from trafficgen.cli.program import call
from trafficgen.cli.send import command as send
from trafficgen.errors import ExitCode, PlanError
from trafficgen.plan import parse_listen
from trafficgen.workload import check

PIECES = st.sampled_from(
    ["1", "0", "00", "9" * 400, "9" * 5000, "1e400", "-1", "nan", "inf", "1.5", ":", "/", ",", "%", "=", "s", "m", "kb",
     "a.com", "dot", "rcpt", "after", "uniform", "lognormal", "zipf", "tag", "spec2001", "p99", "<", "domain{", "}",
     "²", "٣", "\0", "\n", "\x1b", "\udcff", "{", "|", "X-A: ", "unix:", "[::1]", "--", " "]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=6).map("".join))
PATHS = {"--body-file", "--mbox", "--domains-from", "--auth-password-file", "--json", "--manifest", "--scenario"}


def valued(command: click.Command) -> list[str]:
    """The options of a command that take a text."""
    options = [p for p in command.params if isinstance(p, click.Option) and not p.is_flag]
    return [o.opts[0] for o in options if o.opts[0] not in PATHS]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(valued(send)), TEXTS)
def test_any_text_in_an_option_of_send(option: str, text: str) -> None:
    needed = {"--sink-api": ["--target=a.test", "--wait-for-delivery=1s"], "--wait-for-delivery": ["--sink-api=1"]}
    with contextlib.suppress(PlanError, click.UsageError):
        context = send.make_context("send", [f"{option}={text}", *needed.get(option, [])])
        check(make_plan(SendOptions(**context.params)).plan)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(valued(sink.command)), TEXTS, TEXTS)
def test_any_text_in_an_option_of_the_sink(option: str, text: str, listen: str) -> None:
    arguments = ["0", f"{option}={text}"]
    beside = {
        "--bounce-to": "--bounce-share=1%",
        "--bounce-share": "--bounce-to=1",
        "--complaint-share": "--bounce-to=1",
    }
    if option in beside:
        arguments.append(beside[option])
    with contextlib.suppress(PlanError, click.UsageError):
        given_here = sink.command.make_context("sink", arguments).params
        given_here.pop("api")
        sink.sink_config_of(parse_listen(given_here.pop("listen")), given_here)
    with contextlib.suppress(PlanError):
        parse_listen(listen)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(valued(gate)), TEXTS)
def test_any_text_in_an_option_of_the_gate(option: str, text: str) -> None:
    from trafficgen.cli.gate_options import GateOptions
    from trafficgen.cli.gate_plan import build_of, load_of
    from trafficgen.cli.gate_runs import design_of_runs
    from trafficgen.cli.gate_slices import design_of_slices, refuse
    from trafficgen.verdict.gating import Side

    if option in ("--state", "--keep", "--history"):
        return
    with contextlib.suppress(PlanError, click.UsageError):
        options = GateOptions(**gate.make_context("gate", ["--a=127.0.0.1", f"{option}={text}"]).params)
        refuse(options)
        build_of(options, Side.A), build_of(options, Side.B)
        _, plan, _ = load_of(options, None)
        design_of_slices(options, plan, 1) if options.by_slices else design_of_runs(options, 1)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(valued(make)), TEXTS)
def test_any_text_in_an_option_of_mboxgen(option: str, text: str) -> None:
    from mboxgen.cli import _recipe
    from mboxgen.recipe.faults import FaultError
    from mboxgen.recipe.recipe import RecipeError
    from mboxgen.recipe.sizes import SizeError

    if option == "--recipe":
        return
    arguments = ["corpus.mbox", f"{option}={text}", *(() if option in ("--size", "--preset") else ("--size=1kb:3",))]
    with contextlib.suppress(click.UsageError, RecipeError, SizeError, FaultError):
        given_here = make.make_context("make", arguments).params
        for name in ("path", "recipe", "workers", "force", "quiet"):
            given_here.pop(name)
        _recipe(None, given_here)


def told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line of a refusal."""
    assert call(arguments) is ExitCode.USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("message-count = 1e400", 'expected a whole number for "message-count", got inf'),
        ("message-count = nan", "expected a whole number"),
        ("seed = 1.5", 'expected a whole number for "seed", got 1.5'),
        ("seed = true", "expected a whole number"),
        ("message-count = " + "9" * 5000, "is not a scenario"),
        ("message-count = 0x" + "f" * 5000, "a number of 20000 bits"),
        ("seed = 0x" + "f" * 5000, "a number of 20000 bits"),
        ("arrivals = 5", "--arrivals"),
        ("duration = 1e400", "expected a duration"),
        ("rate = 2025-11-21", 'expected a text or a number for "rate"'),
        ("domain = [[1]]", "expected text or a list of texts"),
        ("x = " + "[" * 3000 + "]" * 3000, "nested too deep"),
        ("x = " + "{a=" * 3000 + "1" + "}" * 3000, "nested too deep"),
        ('[[phase]]\nkind = "steady"\nduration = inf', "expected a duration"),
        ("phase = 5", "expected phases as [[phase]] tables"),
        ('header = "X-A: \\u0000"', "must not contain CR, LF or NUL"),
        ('mbox = "a\\u0000b"', "expected the path of a file"),
    ],
)  # fmt: skip
def test_a_scenario_with_odd_values_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toml: str, words: str
) -> None:
    (tmp_path / "s.toml").write_text(toml)
    assert words in told(capsys, ["--scenario", str(tmp_path / "s.toml"), "--dry-run"])


def test_a_scenario_that_is_no_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_bytes(b'a = "\xff"')
    said = told(capsys, ["--scenario", str(tmp_path / "s.toml"), "--dry-run"])
    assert "expected UTF-8 text, found octet 5 is not" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--auth-user", "a", "--tls", "--auth-password-file"],
        ["--domains-from"],
        ["--body-file"],
        ["--scenario"],
        ["sink", "0", "--responses"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/random"])
def test_a_device_without_an_end_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], device: str
) -> None:
    assert "it is a device, not a file" in told(capsys, [*arguments, device])


def test_a_recipe_of_mboxgen_is_no_device_and_not_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("x = " + "[" * 3000 + "]" * 3000)
    (tmp_path / "deep.json").write_text('{"recipe": ' + "[" * 100_000 + "]" * 100_000 + "}")
    for recipe, words in (("/dev/zero", "it is a device"), ("deep.toml", "nested too deep"), ("deep.json", "is none")):
        done = subprocess.run(
            [sys.executable, "-m", "mboxgen", "a.mbox", "--recipe", recipe],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sink", "0", "--drop", "dot:1/00"], "expected odds such as 10%, 0.1 or 1/10"),
        (["sink", "0", "--drop", "dot:1/" + "9" * 5000], "expected odds"),
        (["sink", "0", "--client-rate", "100/"], "expected a limit"),
        (["sink", "0", "--client-rate", "100/0s"], "expected a limit"),
        (["sink", "0", "--client-rate", "9" * 5000 + "/s"], "expected a limit"),
        (["--message-count", "9" * 4000], "bits (--message-count)"),
        (["--concurrency", "1000000000"], "from 1 to 1000000"),
        (["--workers", "100000"], "from 1 to 1024"),
        (["--rate", "1e9"], "expected a rate"),
        (["--rate", "9999999999"], "of 1e+09/s at most"),
        (["--duration", "2000d"], "1000 days at most"),
        (["--timeout", "2000d"], "1000 days at most"),
        (["--users", "9" * 5000], "expected COUNT"),
        (["--live-port", "127.0.0.1:80"], "--live-port"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_numbers_without_measure_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in told(capsys, arguments)


def test_every_option_of_send_is_tried() -> None:
    assert len(valued(send)) + len(PATHS) >= sum(isinstance(o, GroupedOption) and not o.is_flag for o in send.params)
    assert isinstance(sys.stdout, io.TextIOBase)
