"""Options of a sink that would do nothing, or another thing than they say, are refused by their names."""

import pytest

from trafficgen.cli.program import call
from trafficgen.errors import ExitCode


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--certificate c", "expected --starttls or --tls with it (--certificate)"),
        ("--starttls --key k", "expected --certificate with it (--key)"),
        ("--require-tls", "expected --starttls or --tls with it (--require-tls)"),
        ("--kumo-odds", "expected --responses with it (--kumo-odds)"),
        ("--capture-limit 1MB", "expected --capture with it (--capture-limit)"),
        ("--allow-public-target", "expected --bounce-to with it (--allow-public-target)"),
        ("--allow-real-domains", "expected --bounce-to with it (--allow-real-domains)"),
        ("--idle-timeout 0", "expected a time above zero (--idle-timeout)"),
        ("--tarpit -1s", 'expected a duration such as 90, 90s, 5m or 1h30m, got "-1s" (--tarpit)'),
    ],
)
def test_an_option_is_refused_by_its_name(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["sink", "0", *options.split()]) is ExitCode.USAGE
    assert capsys.readouterr().err == f"traffic-gen: {words}\n"
