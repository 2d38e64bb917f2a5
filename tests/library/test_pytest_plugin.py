"""The fixture `mail_sink` in tests of somebody else's: with nothing asked, under xdist, with warnings as errors."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trafficgen.testing

pytest_plugins = ["pytester"]

LOADED = trafficgen.testing.MailSink
"""With numpy, which a process can import once only, and pytester forgets what was imported."""

PLUGIN = ("-p", "trafficgen.testing.pytest_plugin")
TESTS = """
    import asyncio, smtplib
    import pytest
    from trafficgen.testing import MailSink

    @pytest.mark.parametrize("number", range(4))
    def test_mail(mail_sink: MailSink, number):
        with smtplib.SMTP(mail_sink.host, mail_sink.port) as client:
            client.sendmail("a@example.com", "b@example.com", f"Subject: {number}\\n\\n")
        assert [mail.subject for mail in mail_sink.wait_for(1)] == [str(number)]

    @pytest.mark.mail_sink(security="starttls", auth=True, faults=["reject mail:451"])
    def test_options(mail_sink):
        with smtplib.SMTP(mail_sink.host, mail_sink.port) as client:
            client.starttls(context=mail_sink.client_context())
            client.login("ann", "any")
            assert client.mail("a@example.com")[0] == 451

    def test_async(mail_sink):
        async def main():
            reader, writer = await asyncio.open_connection(mail_sink.host, mail_sink.port)
            writer.write(b"EHLO x\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<b@x.test>\\r\\nBDAT 4 LAST\\r\\nhere")
            (mail,) = await mail_sink.wait_for_async(1)
            writer.close()
            return mail.raw
        assert asyncio.run(main()) == b"here"
"""


OPTIONS = (*PLUGIN, "-W", "error", "--strict-markers", "-p", "no:cacheprovider")


def test_tests_get_a_sink_each(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=6)


def test_under_xdist_as_well(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess(*OPTIONS, "-n", "2").assert_outcomes(passed=6)


def test_a_wait_in_vain_shows_what_came_and_a_wrong_marker_what_was_expected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_waits(mail_sink):
            mail_sink.wait_for(1, 0)

        @pytest.mark.mail_sink("starttls")
        def test_wrong(mail_sink):
            pass
        """
    )
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1, errors=1)
    done.stdout.fnmatch_lines(["*MailNotReceivedError: expected 1 message within 0 s, got 0", "*nobody connected to *"])
    done.stdout.fnmatch_lines(['*expected options of mail_sink by name, such as auth=True, got "starttls"*'])


def test_who_does_not_ask_for_it_does_not_wait_for_it() -> None:
    look = f"import pytest, sys; was = set(sys.modules); import {PLUGIN[1]}; print(*set(sys.modules) - was)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {
        "trafficgen", "trafficgen.host", "trafficgen.host.version", "trafficgen.testing", PLUGIN[1],
    }  # fmt: skip


def test_an_installed_package_brings_it_along() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {
        "trafficgen.testing.pytest_plugin": "trafficgen.testing.pytest_plugin"
    }


def test_the_examples_of_its_page_pass(pytester: pytest.Pytester) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "mail-in-tests.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    pytester.makepyfile(**{f"test_example_{number}": example for number, example in enumerate(examples)})
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=len(examples) - 1)  # the last has no test function
