"""A program that may have two connections: what is no matter of the inbox goes over the second one."""

from typing import Any

import pytest

from tests.mailbox.faulty_run import S, counts_of, failures_of, run
from tests.mailbox.store import HangUp, ImapSession, Store
from trafficgen.measure.results import Results

SETTINGS = """mail_inbox_reply_percentage = 100
  mail_send_interval = 300 ms
  mail_write_duration = 50 ms"""
USERS = 2


class Noting(ImapSession):
    """Each connection writes down what it is asked."""

    said: list[list[str]]

    def run(self) -> None:
        self.mine: list[str] = []
        self.said.append(self.mine)
        super().run()

    def read(self) -> str:
        line = super().read()
        words = line.split(" ")
        self.mine.append(words[1] if len(words) > 1 else line)
        return line


def run_with(kind: type[Noting], *, most: int = 2, **fields: Any) -> tuple[Results, list[list[str]]]:
    kind.said = []
    changes = (
        ("connection_max_count = 1", f"connection_max_count = {most}"),
        ("login_interval = 100 ms", "login_interval = 10s\n  imap_status_interval = 200 ms"),
    )
    return run(Store(), settings=SETTINGS, imap=kind, changes=changes, duration_ns=2 * S, **fields), kind.said


def test_status_and_append_go_over_the_second_and_the_first_is_never_kept_from_its_mail():
    results, connections = run_with(Noting)
    assert counts_of(results).clean
    assert not results.failures
    first = [said for said in connections if "SELECT" in said]
    second = [said for said in connections if "SELECT" not in said]
    assert (len(first), len(second)) == (USERS, USERS)
    for said in first:
        assert not {"STATUS", "APPEND"} & set(said)
        assert "IDLE" in said
    for said in second:
        assert {"STATUS", "APPEND"} <= set(said) <= {"LOGIN", "CAPABILITY", "STATUS", "APPEND", "LOGOUT"}
        assert said[-1] == "LOGOUT"
    assert results.commands["login"].count == results.commands["logout"].count == 2 * USERS
    assert results.commands["status"].count == sum(said.count("STATUS") for said in connections)


@pytest.mark.parametrize("fields", [{"most": 1}, {"connections": USERS}, {"most": 1, "pipelining": False}])
def test_without_a_second_connection_the_first_does_it(fields: dict[str, int]):
    results, connections = run_with(Noting, **fields)
    assert not results.failures
    assert len(connections) == USERS
    for said in connections:
        assert {"STATUS", "APPEND"} <= set(said)


def test_a_second_connection_that_is_cut_off_is_a_failure_of_its_own_and_made_again():
    class CutsOff(Noting):
        def on_status(self, argument: str) -> None:
            if "SELECT" not in self.mine:
                raise HangUp
            super().on_status(argument)

    results, connections = run_with(CutsOff)
    assert counts_of(results).clean
    assert {phase for phase, _ in failures_of(results)} <= {"status", "append"}
    assert results.commands["status"].failed + results.commands["append"].failed > 0
    assert len([said for said in connections if "SELECT" in said]) == USERS
    assert len(connections) > 2 * USERS
