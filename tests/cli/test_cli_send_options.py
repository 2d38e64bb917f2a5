"""The options of send together: plans, defaults, environment, refusals."""

import dataclasses
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.sending import plan_of, planned
from trafficgen.cli.grouped import GroupedOption
from trafficgen.cli.options import SendOptions
from trafficgen.cli.program import call
from trafficgen.cli.send import EPILOG
from trafficgen.cli.send import command as send
from trafficgen.errors import ExitCode, PlanError
from trafficgen.host.limits import cores
from trafficgen.plan import (
    AddressRange,
    Arrivals,
    Auth,
    BodyFile,
    ClientAttribute,
    ClientPlan,
    Corpus,
    Departure,
    LeavingStep,
    LongTail,
    OpenLoop,
    Pipelining,
    ProxyProtocol,
    Security,
    ShapePlan,
    SizedBodies,
    Stage,
    TcpTarget,
    UnixTarget,
    Users,
    WeightedAddress,
    WeightedDomain,
    WeightedName,
)  # fmt: skip

S = 1_000_000_000


def test_pools_of_addresses_and_names():
    client = plan_of(
        "--source-ip", "127.0.0.2", "--source-ip", "127.0.0.4-127.0.0.9=2", "--ehlo-name", "a.test=3", "--ehlo-name",
        "[IPv6:::1]", "--proxy-protocol", "v2", "--proxy-from", "2001:db8::/120=0.5",
        "--xclient-from", "192.0.2.0/24,*.dyn.test=3", "--xclient", "login=ann=3", "--xclient", "HELO=[IPv6:::1]",
    ).session.client  # fmt: skip
    assert client == ClientPlan(
        sources=(AddressRange("127.0.0.2", "127.0.0.2"), AddressRange("127.0.0.4", "127.0.0.9", weight=2.0)),
        ehlo_names=(WeightedName("a.test", 3.0), WeightedName("[IPv6:::1]")),
        proxy=ProxyProtocol.V2,
        proxy_from=(AddressRange("2001:db8::", "2001:db8::ff", weight=0.5),),
        xclient_from=(AddressRange("192.0.2.0", "192.0.2.255", "*.dyn.test", 3.0),),
        xclient=(ClientAttribute("LOGIN", "ann", 3.0), ClientAttribute("HELO", "[IPv6:::1]")),
    )
    assert plan_of("--ehlo-name", "only.test").session.ehlo_name == "only.test"


def test_shapes_of_sessions():
    plan = plan_of(
        "--messages-per-session", "1:5,20:1", "--think-time", "2s", "--rset-between", "--leave-share", "5%",
        "--drop-share", "0.02",
    )  # fmt: skip
    assert plan.session.max_messages == 0
    assert plan.session.shape == ShapePlan(((1, 5.0), (20, 1.0)), 0.05, 0.02, 2 * S, True)


def test_senders_come_from_files_beside_those_that_are_typed(tmp_path):
    path = tmp_path / "senders.txt"
    path.write_text("# of the lab\nann#1@lab.test:3\n\n  bob@lab.test # rarely\n")
    plan = plan_of("--from", "a@lab.test", "--senders-from", str(path))
    assert plan.workload.from_addresses == (
        WeightedAddress("a@lab.test"), WeightedAddress("ann#1@lab.test", 3.0), WeightedAddress("bob@lab.test"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"a@lab.test\nb@lab.test:x\n", "senders.txt, line 2: "),
        (b"a@lab.test\nb\n", "senders.txt, line 2: "),
        (b"# none\n", "names no sender"),
        (b"\xff\n", "not UTF-8"),
        (b"a" * 1024 * 1024 + b"a", "cannot read"),
    ],
)
def test_a_bad_file_of_senders_is_one_line(octets, words, tmp_path):
    path = tmp_path / "senders.txt"
    path.write_bytes(octets)
    with pytest.raises(PlanError) as refused:
        plan_of("--senders-from", str(path))
    assert words in refused.value.as_typed
    assert "--senders-from" in refused.value.as_typed


def test_steps_at_which_sessions_go():
    plan = plan_of(
        "--leave-share", "5%", "--leave-share", "rcpt:0.1", "--drop-share", "2%", "--drop-share", "Connect:sent:1%",
        "--drop-share", "body:3%",
    )  # fmt: skip
    departures = (Departure(0.1, LeavingStep.RCPT, quits=True), Departure(0.01, LeavingStep.CONNECT, waits=False))
    assert plan.session.shape == ShapePlan(
        leave_share=0.05, drop_share=0.02, departures=(*departures, Departure(0.03, LeavingStep.BODY))
    )


# -- KumoMTA's commands, word for word ------------------------------------------------------------------


def test_kumomta_performance_command():
    plan = plan_of(
        "--target", "localhost:2025", "--keep-going", "--concurrency", "400", "--body-size", "60kb",
        "--duration", "1500", "--domain-suffix", "testingdomain.tld", "--domain", "aol.com:1.5",
        "--domain", "gmail.com:67.4", "--domain", "yahoo.com:5.9", "--domain", "me.com:0.2",
    )  # fmt: skip
    assert plan.target == TcpTarget("localhost", 2025)
    assert plan.keep_going
    assert plan.sessions == 400
    assert plan.duration_ns == 1500 * S
    assert plan.max_messages is None
    assert plan.workload.content == SizedBodies(("60kb",))
    assert plan.workload.domain_suffix == "testingdomain.tld"
    assert plan.workload.domains[1] == WeightedDomain("gmail.com", 67.4)
    assert plan.load is None


def test_kumomta_count_command_has_no_hidden_deadline():
    plan = plan_of(
        "--target", "127.0.0.1:2025", "--concurrency", "20000", "--message-count", "100000", "--body-size", "100000"
    )
    assert (plan.max_messages, plan.duration_ns, plan.sessions) == (100_000, None, 20_000)


def test_kumomta_throttle_and_header():
    plan = plan_of("--throttle", "1000/s", "--header", "X-Tenant: a", "--starttls")
    assert plan.load == OpenLoop(1000.0)
    assert plan.workload.headers[0].values == (("a", 1.0),)
    assert plan.session.security is Security.STARTTLS


# -- defaults -------------------------------------------------------------------------------------------


def test_defaults():
    plan, notices, *_ = planned()
    assert plan.target is None
    assert plan.sessions == 10 * cores()
    assert (plan.max_messages, plan.duration_ns) == (None, 60 * S)
    assert [d.name for d in plan.workload.domains] == ["aol.com", "gmail.com", "hotmail.com", "yahoo.com"]
    assert plan.workload.domain_suffix == "traffic-gen.test"
    assert plan.workload.content == SizedBodies(("5kb",))
    assert plan.ledger
    assert notices == [f"seed {plan.seed}: repeat this run's messages with --seed {plan.seed}"]


def test_seed_and_run_id_are_new_each_time_unless_given():
    assert plan_of().seed != plan_of().seed
    assert plan_of().run_id != plan_of().run_id
    plan, notices, *_ = planned("--seed", "7", "--run-id", "9F3A6C1E02B4D857")
    assert (plan.seed, plan.run_id, notices) == (7, "9f3a6c1e02b4d857", [])


def test_run_of_stages_lasts_as_long_as_they_do():
    plan = plan_of("--stage", "30s:200", "--stage", "1m:1000", "--arrivals", "poisson")
    assert plan.duration_ns == 90 * S
    assert plan.load == OpenLoop(0.0, (Stage(30 * S, 200.0), Stage(60 * S, 1000.0)), Arrivals.POISSON)
    assert plan_of("--stage", "30s:200", "--rate", "50/s").load.rate_per_s == 50.0
    assert plan_of("--stage", "30s:200", "--message-count", "5").duration_ns is None


def test_every_option_reaches_the_plan(tmp_path):
    plan = plan_of(
        "--target", "unix:/tmp/sink", "--message-count", "5", "--duration", "1h30m", "--messages-per-session", "3",
        "--workers", "2", "--grace", "500ms", "--users", "50,zipf:1.5,tag", "--recipients", "spec2001",
        "--senders", "9", "--long-tail", "100:5", "--domain", "a.com", "--body-file", "b.txt",
        "--pipelining", "off", "--tls", "--insecure",
        "--ehlo-name", "mx.example", "--auth-user", "me", "--auth-password-file", "pw", "--connect-timeout", "3s",
        "--timeout", "4s", "--no-ledger", "--allow-public-target", "--allow-real-domains",
    )  # fmt: skip
    assert plan.target == UnixTarget("/tmp/sink")
    assert (plan.max_messages, plan.duration_ns, plan.workers, plan.grace_ns) == (5, 5400 * S, 2, S // 2)
    assert plan.workload.users == Users(50, 1.5, tagged=True)
    assert plan.workload.recipients_per_message[0] == (1, 85.73)
    assert plan.workload.senders == 9
    assert plan.workload.long_tail == LongTail(100, 5.0)
    assert plan.workload.content == BodyFile(Path("b.txt"))
    session = plan.session
    assert (session.max_messages, session.pipelining, session.security) == (3, Pipelining.OFF, Security.TLS)
    assert (session.verify_certificate, session.ehlo_name) == (False, "mx.example")
    assert session.auth == Auth("me", Path("pw"))
    assert (session.connect_timeout_ns, session.reply_timeout_ns) == (3 * S, 4 * S)
    assert (plan.ledger, plan.allow_public_target, plan.allow_real_domains) == (False, True, True)


def test_corpus():
    assert plan_of("--mbox", "a.mbox", "--shuffle").workload.content == Corpus(Path("a.mbox"), True)


def test_preset_sends_its_rest_to_a_long_tail():
    plan = plan_of("--domain-preset", "mapp2019-us")
    assert plan.workload.domains[0] == WeightedDomain("gmail.com", 50.1)
    assert plan.workload.long_tail == LongTail(1000, 10.2)
    assert plan_of("--domain-preset", "mapp2019-us", "--long-tail", "7:1").workload.long_tail == LongTail(7, 1.0)
    assert plan_of("--domain-preset", "kumo-doc").workload.long_tail is None


def test_presets_and_domains_add_up():
    plan, notices, *_ = planned("--domain-preset", "kumo-doc", "--domain", "gmail.com:10", "--seed", "1")
    assert plan.workload.domains[0].weight == pytest.approx(77.4)
    assert len(notices) == 1


def test_long_tail_alone_leaves_the_default_domains_out():
    assert plan_of("--long-tail", "10:1").workload.domains == ()


def test_suffix_that_is_not_reserved_is_told():
    assert '"example.com"' not in str(planned("--domain-suffix", "example.com").notices)
    assert planned("--domain-suffix", "corp.net", "--seed", "1").notices == [
        '"corp.net" is not reserved for tests: make sure that mail for it cannot leave your network'
    ]
    assert plan_of("--domain-suffix", "").workload.domain_suffix == ""


# -- the environment ------------------------------------------------------------------------------------


def test_every_option_has_an_environment_variable_after_its_name():
    for option in send.params:
        if isinstance(option, GroupedOption):
            assert option.envvar == ["TRAFFIC_GEN_" + n[2:].replace("-", "_").upper() for n in option.opts]


def test_options_come_from_the_environment():
    plan = plan_of(
        environment={
            "TRAFFIC_GEN_TARGET": "localhost:2025",
            "TRAFFIC_GEN_DOMAIN": "gmail.com:67.4 yahoo.com:5.9",
            "TRAFFIC_GEN_BODY_SIZE": "10kb:5 80kb:5",
            "TRAFFIC_GEN_HEADER": "X-A: one two; three\nX-B: four\n",
            "TRAFFIC_GEN_STAGE": "30s:200\n1m:1000",
            "TRAFFIC_GEN_KEEP_GOING": "1",
            "TRAFFIC_GEN_THROTTLE": "5/s",
        }
    )
    assert plan.target == TcpTarget("localhost", 2025)
    assert [d.weight for d in plan.workload.domains] == [67.4, 5.9]
    assert plan.workload.content == SizedBodies(("10kb:5", "80kb:5"))
    assert [h.values[0][0] for h in plan.workload.headers] == ["one two; three", "four"]
    assert len(plan.load.stages) == 2
    assert plan.load.rate_per_s == 5.0
    assert plan.keep_going


def test_command_line_wins_over_the_environment():
    environment = {"TRAFFIC_GEN_RATE": "5/s", "TRAFFIC_GEN_DOMAIN": "a.com"}
    plan = plan_of("--rate", "7/s", "--domain", "b.com", environment=environment)
    assert plan.load.rate_per_s == 7.0
    assert [d.name for d in plan.workload.domains] == ["b.com"]


# -- the definitions ------------------------------------------------------------------------------------


def test_parameters_are_the_fields_of_send_options():
    fields = {field.name for field in dataclasses.fields(SendOptions)}
    exposed = {p.name for p in send.params if p.expose_value}
    assert fields == exposed


def test_defaults_that_help_tells_are_those_of_the_options():
    for option in send.params:
        told = re.search(r"\[default: (\S+\])$", option.help or "")
        if told and isinstance(option.default, str | int):
            assert told[1] == f"{option.default}]"


@pytest.mark.parametrize("example", re.findall(r"^  (traffic-gen .*)$", EPILOG, re.MULTILINE))
def test_examples_in_help_run(example, tmp_path, monkeypatch, capsys):
    (tmp_path / "corpus.mbox").write_bytes(b"From a@b.test Fri Nov 21 22:55:00 2025\nSubject: one\n\nhello\n\n")
    monkeypatch.chdir(tmp_path)
    assert call([*shlex.split(example)[1:], "--dry-run", "--seed", "1"]) is ExitCode.DONE
    assert capsys.readouterr().out.startswith("dry run: nothing is sent")


def test_help_imports_nothing_heavy():
    code = inspect.cleandoc("""
        import sys
        from trafficgen.cli.program import call
        call(["--help"])
        heavy = {"numpy", "rich", "aiosmtplib", "faker", "asyncio", "uvloop", "ssl"} & set(sys.modules)
        heavy |= {"trafficgen.plan", "importlib.metadata", "email", "tomllib"} & set(sys.modules)  # half of its time
        sys.exit(f"imported {heavy}" if heavy else 0)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--body-size" in done.stdout
    assert re.search(r"^  sink\s", done.stdout, re.MULTILINE)
