"""Options of send that make no sense are refused in one line."""

import click
import pytest

from tests.cli.sending import plan_of
from trafficgen.cli.grouped import GroupedOption
from trafficgen.cli.program import call
from trafficgen.cli.send import command as send
from trafficgen.errors import ExitCode, PlanError
from trafficgen.workload import Messages

# -- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--starttls", "--tls"], "--tls"),
        (["--insecure"], "--insecure"),
        (["--auth-user", "a", "--starttls"], "add --auth-password-file"),
        (["--auth-password-file", "a", "--starttls"], "add --auth-user"),
        (["--auth-user", "a", "--auth-password-file", "/nowhere/b"], "cannot read the password file"),
        (["--auth-user", "a\r\nb", "--auth-password-file", "b", "--tls"], "--auth-user"),
        (["--body-size", "1kb", "--mbox", "a"], "--mbox"),
        (["--body-file", "a", "--mbox", "b"], "--mbox"),
        (["--shuffle"], "--shuffle"),
        (["--arrivals", "poisson"], "--arrivals"),
        (["--rate", "-5/s"], 'got "-5/s" (--rate)'),
        (["--rate", "0/s"], "--rate"),
        (["--duration", "0"], "--duration"),
        (["--duration", "soon"], "--duration"),
        (["--message-count", "0"], "--message-count"),
        (["--concurrency", "0"], "--concurrency"),
        (["--workers", "0"], "--workers"),
        (["--senders", "0"], "--senders"),
        (["--senders", "1000000"], "--senders"),
        (["--messages-per-session", "-1"], "--messages-per-session"),
        (["--messages-per-session", "1:5,x"], "--messages-per-session"),
        (["--messages-per-session", "0:1,2:1"], "--messages-per-session"),
        (["--leave-share", "100%"], "--leave-share"),
        (["--drop-share", "5%%"], "--drop-share"),
        (["--drop-share", "dot:5%"], "STEP one of connect, helo, mail, rcpt, data, body"),
        (["--drop-share", "data:later:5%"], "expected SHARE, STEP:SHARE or STEP:sent:SHARE"),
        (["--leave-share", "data:5%"], "--leave-share"),
        (["--leave-share", "rcpt:sent:5%"], "--leave-share"),
        (["--drop-share", "mail:100%"], "--drop-share"),
        (["--drop-share", "connect:1%", "--starttls"], "plain sessions"),
        (["--think-time", "-1s"], "--think-time"),
        (["--seed", "-1"], "--seed"),
        (["--run-id", "xyz"], "--run-id"),
        (["--grace", "-1s"], "--grace"),
        (["--timeout", "1001d"], "--timeout"),
        (["--connect-timeout", "0"], "--connect-timeout"),
        (["--target", ""], "--target"),
        (["--target", "a:99999"], "--target"),
        (["--target", "a\r\nb:25"], "--target"),
        (["--target", "unix:/a\0b"], "--target"),
        (["--domain-suffix", "a b"], "--domain-suffix"),
        (["--domain-suffix", "a\r\nDATA"], "--domain-suffix"),
        (["--ehlo-name", "a\r\nRSET"], "--ehlo-name"),
        (["--ehlo-name", "a=0"], "--ehlo-name"),
        (["--source-ip", "here"], 'network such as 192.0.2.0/24, got "here" (--source-ip)'),
        (["--message-count", "١٢"], "expected a whole number such as 100, got"),
        (["--concurrency", "1_000"], "expected a whole number such as 100, got"),
        (["--source-ip", "10.0.0.1-"], 'got "10.0.0.1-" (--source-ip)'),
        (["--source-ip", "2001:DB8::9-::1"], 'a lower to a higher address, got "2001:DB8::9-::1" (--source-ip)'),
        (["--xclient", "foo=1"], 'got "foo" (--xclient)'),
        (["--xforward", "Login=1"], 'got "Login" (--xforward)'),
        (["--run-id", "HERE"], 'got "HERE" (--run-id)'),
        (["--domain-suffix", "lab.test."], "a domain name without a dot at its end or an empty string, got"),
        (["--domain-suffix", ".lab.test"], "a domain name without a dot at its beginning or an empty string, got"),
        (["--to", "ann@lab.test."], "an address with a domain name without a dot at its end, got"),
        (["--from", "ann@lab.test."], "an address with a domain name without a dot at its end, got"),
        (["--tls", "--sni", "mx.lab.test."], "a host name without a dot at its end (RFC 6066 section 3), got"),
        (["--source-ip", "10.0.0.1/24"], "has host bits set (--source-ip)"),
        (["--proxy-protocol", "v1"], "add --proxy-from"),
        (["--proxy-from", "::1"], "add --proxy-protocol"),
        (["--xclient-from", "192.0.2.0/24,a b"], "--xclient-from"),
        (["--xclient-from", "192.0.2.0/24", "--tls"], "--xclient-from"),
        (["--xforward-from", "192.0.2.0/24"], "add --messages-per-session 1"),
        (["--xforward", "IDENT=5"], "add --messages-per-session 1"),
        (["--xclient", "LOGIN"], "expected NAME=VALUE[=WEIGHT]"),
        (["--xclient", "LOGIN=joe=x"], "--xclient"),
        (["--xclient", "PORT=0"], "a port from 1 to 65535"),
        (["--xclient", "LOGIN=joe", "--tls"], "(--xclient)"),
        (["--body-file", "a\0b"], "--body-file"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(capsys, arguments, words):
    assert call([*arguments, "--dry-run"]) is ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.startswith("traffic-gen: ")
    assert err.count("\n") == 1


PATHS = {"--mbox", "--body-file", "--auth-password-file", "--domains-from", "--json"}
TEXTS = [o.opts[0] for o in send.params if isinstance(o, GroupedOption) and not o.is_flag and o.opts[0] not in PATHS]
BESIDE = {"--auth-user": ("--tls", "--auth-password-file", "x"), "--auth-password-file": ("--tls", "--auth-user", "x")}


def messages_of(*arguments):
    return Messages(plan_of(*arguments), date="Fri, 21 Nov 2025 22:55:00 +0000")


@pytest.mark.parametrize("injection", ["a\r\nRSET", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("flag", TEXTS)
def test_line_ends_and_nul_are_refused_in_every_option(flag, injection):
    value = {"--header": f"X-A: {injection}", "--domain": f"{injection}.com:1"}.get(flag, injection)
    with pytest.raises((PlanError, click.UsageError)):
        messages_of(flag, value, *BESIDE.get(flag, ()))


@pytest.mark.parametrize("flag", sorted(PATHS - {"--json"}))
def test_nul_is_refused_in_every_path(flag):
    with pytest.raises(PlanError):
        messages_of(flag, "a\0b", *BESIDE.get(flag, ()))
