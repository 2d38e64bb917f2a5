"""Scenario files: every option by its name, phases, and a word about every mistake."""

from pathlib import Path

import click
import pytest

from trafficgen.cli.options import SendOptions
from trafficgen.cli.planning import make_plan
from trafficgen.cli.program import call
from trafficgen.cli.scenario import known_options
from trafficgen.cli.send import command as send
from trafficgen.errors import ExitCode, PlanError
from trafficgen.plan import OpenLoop, Plan, Stage

S = 1_000_000_000


def options_of(text: str, path: Path, *arguments: str) -> SendOptions:
    path.write_text(text)
    context = send.make_context("send", ["--scenario", str(path), *arguments])
    return SendOptions(**context.params)


def plan_of(text: str, path: Path, *arguments: str) -> Plan:
    return make_plan(options_of(text, path, *arguments)).plan


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.toml"


def test_options_by_their_names(file: Path) -> None:
    text = """
        target = "10.0.0.7:2525"
        message-count = 1000
        domain = ["gmail.com:67.4", "aol.com:1.5"]
        body-size = "10kb"
        keep-going = true
        seed = 42
        threshold = ["p99<250ms", "accepted.rate>0.999"]
        warm-up = "5s"
    """
    options = options_of(text, file)
    assert (options.message_count, options.seed, options.keep_going, options.body_size) == (1000, 42, True, ("10kb",))
    assert (options.threshold, options.warm_up) == (("p99<250ms", "accepted.rate>0.999"), "5s")
    assert [domain.name for domain in make_plan(options).plan.workload.domains] == ["gmail.com", "aol.com"]


def test_a_mark_of_the_octet_order_is_no_part_of_a_scenario(file: Path) -> None:
    assert options_of("\ufeffmessage-count = 7", file).message_count == 7


def test_what_is_typed_or_in_the_environment_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_GEN_SEED", "8")
    options = options_of('message-count = 10\nseed = 7\ndomain = "a.com"', file, "--message-count", "11")
    assert (options.message_count, options.seed, options.domain) == (11, 8, ("a.com",))


def test_phases_of_an_open_model_run(file: Path) -> None:
    text = """
        [[phase]]
        kind = "warm-up"
        duration = "10s"
        rate = "100/s"
        [[phase]]
        kind = "ramp"
        duration = "20s"
        [[phase]]
        kind = "steady"
        duration = "1m"
        rate = "1000/s"
        [[phase]]
        kind = "drain"
        duration = "5s"
    """
    options = options_of(text, file)
    plan = make_plan(options).plan
    assert plan.load == OpenLoop(0.0, (Stage(0, 100), Stage(10 * S, 100), Stage(20 * S, 1000), Stage(60 * S, 1000)))
    assert (plan.duration_ns, plan.grace_ns, options.warm_up) == (90 * S, 5 * S, f"{30 * S}ns")


def test_phases_with_one_rate_are_a_plain_rate(file: Path) -> None:
    text = '[[phase]]\nkind="warm-up"\nduration="1s"\n[[phase]]\nkind="steady"\nduration="9s"\nrate="50/s"'
    assert plan_of(text, file).load == OpenLoop(50.0)


def test_a_ramp_without_a_warm_up_begins_at_nothing(file: Path) -> None:
    text = '[[phase]]\nkind="ramp"\nduration="1s"\n[[phase]]\nkind="steady"\nduration="9s"\nrate="50/s"'
    load = plan_of(text, file).load
    assert load == OpenLoop(0.0, (Stage(0, 0), Stage(0, 0), Stage(S, 50), Stage(9 * S, 50)))


def test_phases_of_a_closed_model_run_divide_its_time(file: Path) -> None:
    text = '[[phase]]\nkind="warm-up"\nduration="2s"\n[[phase]]\nkind="steady"\nduration="3s"'
    options = options_of(text, file)
    plan = make_plan(options).plan
    assert (plan.load, plan.duration_ns, options.warm_up) == (None, 5 * S, f"{2 * S}ns")


STEADY = '[[phase]]\nkind="steady"\nduration="1s"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "is not a scenario"),
        ("mesage-count = 1", 'unknown key "mesage-count"; did you mean "message-count"?'),
        ("warm_up = '1s'", 'did you mean "warm-up"?'),
        ("xyzzy = 1", 'unknown key "xyzzy"'),
        ("scenario = 'x'", 'unknown key "scenario"'),
        ("keep-going = 1", 'expected true or false for "keep-going"'),
        ("target = true", 'expected text or a list of texts for "target"'),
        ("seed = [1]", 'expected a whole number for "seed"'),
        ("domain = [true]", 'expected text or a list of texts for "domain"'),
        ("phase = 1", "expected phases as"),
        (STEADY + 'speed="1/s"', 'unknown key in a phase: "speed"'),
        ('[[phase]]\nduration="1s"', "expected a phase with a kind"),
        ('[[phase]]\nkind="stedy"', 'unknown kind of phase: "stedy"; did you mean "steady"?'),
        ('[[phase]]\nkind="steady"', 'expected a duration for the phase "steady"'),
        ('[[phase]]\nkind="warm-up"\nduration="1s"', "expected a steady phase"),
        (STEADY + STEADY, "expected each phase once and in the order"),
        (STEADY + '[[phase]]\nkind="warm-up"\nduration="1s"', "in the order"),
        ('[[phase]]\nkind="ramp"\nduration="1s"\n' + STEADY, "a ramp needs the rate"),
        ('[[phase]]\nkind="warm-up"\nduration="1s"\nrate="1/s"\n' + STEADY, "expected a rate for the steady phase"),
        (STEADY + '[[phase]]\nkind="drain"\nduration="1s"\nrate="1/s"', "a drain has no rate"),
        (STEADY.replace("1s", "soon"), "expected a duration"),
        ("rate = '5/s'\n" + STEADY, '"rate" is set by the phases'),
    ],
)
def test_every_mistake_is_named(text: str, words: str, file: Path) -> None:
    with pytest.raises(PlanError) as caught:
        options_of(text, file)
    assert words in str(caught.value)
    assert caught.value.as_typed.endswith("(--scenario)")


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["--scenario", "none.toml", "--dry-run"]) is ExitCode.USAGE
    assert 'cannot read "none.toml": no such file or directory' in capsys.readouterr().err


def test_every_option_can_be_set_but_those_about_the_command_itself() -> None:
    names = {name for option in send.params if isinstance(option, click.Option) for name in option.opts}
    missing = {name for name in names if name.removeprefix("--") not in known_options(send.params)}
    assert missing == {"--scenario", "--list-presets", "--dry-run"}
