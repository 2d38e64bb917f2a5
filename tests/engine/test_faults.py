"""Servers that misbehave: each fault has one outcome, counted exactly, and the run ends."""

import pytest

from tests.peers.ports import free_port
from tests.peers.running import Counts, counts, send
from tests.peers.scripted import Script, scripted
from trafficgen import ExitCode, Results, SetupError, TcpTarget
from trafficgen.outcomes import StoppedBy

SOON = {"reply_timeout_ns": 300_000_000}


def failure(results: Results) -> tuple[str, str, int, str]:
    """The one kind of failure there was."""
    (found,) = results.failures
    return found.phase, found.reason, found.count, found.example


def replies(results: Results, phase: str) -> dict[int, int]:
    return {reply.code: reply.count for reply in results.replies if reply.phase == phase}


# -- a session does not come about ----------------------------------------------------------------------


class Refuses(Script):
    def greet(self) -> None:
        self.say("554 5.7.1 no mail from you")
        self.hang_up()


def test_a_554_at_the_banner_fails_every_message() -> None:
    with scripted(Refuses) as server:
        results = send(server.port, messages=6, sessions=3)
    assert counts(results) == Counts(failed=6)
    assert failure(results) == ("greeting", "refused by the server", 6, "554 5.7.1 no mail from you")
    assert replies(results, "greeting") == {554: 6}
    assert results.exit_code(keep_going=True) is ExitCode.FAILED  # of nothing that was sent anything was accepted
    assert results.exit_code(keep_going=False) is ExitCode.FAILED


def test_without_keep_going_the_first_error_ends_the_run() -> None:
    with scripted(Refuses) as server:
        results = send(server.port, messages=6, keep_going=False)
    assert counts(results) == Counts(failed=1, not_started=5)
    assert results.stopped_by is StoppedBy.FIRST_ERROR
    assert results.exit_code(keep_going=False) is ExitCode.FAILED
    assert failure(results)[3] == "554 5.7.1 no mail from you"


class SaysNothing(Script):
    def greet(self) -> None:
        self.stay_silent()


def test_a_server_that_never_answers_is_given_up() -> None:
    with scripted(SaysNothing) as server:
        results = send(server.port, messages=4, sessions=2, session=SOON)
    assert counts(results) == Counts(failed=4)
    assert failure(results) == ("greeting", "timed out", 4, "no reply within 0.3 s")


class TalksGarbage(Script):
    def greet(self) -> None:
        self.peer.sendall(b"\xff\xfeHTTP/1.1 400 Bad Request\r\n\r\n")
        self.stay_silent()


def test_garbage_is_named() -> None:
    with scripted(TalksGarbage) as server:
        results = send(server.port, messages=3)
    assert counts(results) == Counts(failed=3)
    expected = 'expected a reply, got "\\xff\\xfeHTTP/1.1 400 Bad Request"'
    assert failure(results) == ("greeting", "malformed reply", 3, expected)


class NeverEndsItsLine(Script):
    def greet(self) -> None:
        while True:
            self.peer.sendall(b"220 " + b"x" * 4096)


def test_an_endless_line_is_cut() -> None:
    with scripted(NeverEndsItsLine) as server:
        results = send(server.port, messages=3)
    assert counts(results) == Counts(failed=3)
    assert failure(results) == ("greeting", "malformed reply", 3, "reply line over 2048 octets")


class ClosesMidReply(Script):
    def ehlo(self, line: str) -> None:
        self.peer.sendall(b"250-scripted.test\r\n250-PIPE")
        self.hang_up()


def test_a_reply_cut_off_fails_the_message() -> None:
    with scripted(ClosesMidReply) as server:
        results = send(server.port, messages=3)
    assert counts(results) == Counts(failed=3)
    assert failure(results)[:3] == ("ehlo", "closed by the server", 3)


def test_a_refused_port_fails_every_message() -> None:
    port = free_port()
    results = send(port, messages=3, sessions=3)
    assert counts(results) == Counts(failed=3)
    phase, reason, count, example = failure(results)
    assert (phase, reason, count) == ("connect", "connection refused", 3)
    assert example.startswith(f"127.0.0.1:{port}: ")
    assert results.generator.sessions_opened == 0


def test_an_unknown_host_is_an_error_before_the_start() -> None:
    with pytest.raises(SetupError, match=r'cannot resolve "nowhere\.invalid": .*\(--target\)'):
        send(TcpTarget("nowhere.invalid", 25), messages=3)


class DropsEveryTenth(Script):
    def greet(self) -> None:
        if self.session % 10 == 9:
            self.hang_up()
        super().greet()


def test_every_tenth_session_dropped_fails_every_tenth_message() -> None:
    with scripted(DropsEveryTenth) as server:
        results = send(server.port, messages=100, sessions=4, session={"max_messages": 1})
        assert server.sessions == 100
    assert counts(results) == Counts(accepted=90, failed=10)
    assert failure(results) == ("greeting", "closed by the server", 10, "")


# -- a message does not come through --------------------------------------------------------------------


class ResetsMidBody(Script):
    def read_message(self) -> None:
        self.lines.readline()
        self.reset()


def test_a_reset_within_the_body_leaves_no_doubt() -> None:
    with scripted(ResetsMidBody) as server:
        results = send(server.port, messages=3, body="20mb")
    assert counts(results) == Counts(failed=3)
    assert failure(results)[:3] == ("end_of_data", "connection reset", 3)


class StallsAfterTheDot(Script):
    def end_of_data(self) -> None:
        self.stay_silent()


def test_a_stall_after_the_final_dot_is_doubt_and_spares_the_message_that_rode_along() -> None:
    with scripted(StallsAfterTheDot) as server:
        results = send(server.port, messages=4, sessions=2, session=SOON)
        assert server.sessions == 4
    assert counts(results) == Counts(in_doubt=4)
    assert failure(results) == ("end_of_data", "timed out", 4, "no reply within 0.3 s")


class ClosesInsteadOfTaking(Script):
    def end_of_data(self) -> None:
        if self.taken == 2:
            self.peer.sendall(b"25")
            self.hang_up()
        super().end_of_data()


def test_a_reply_cut_off_after_the_message_is_doubt() -> None:
    with scripted(ClosesInsteadOfTaking) as server:
        results = send(server.port, messages=6)
        assert server.sessions == 3
    assert counts(results) == Counts(accepted=3, in_doubt=3)
    assert failure(results)[:3] == ("end_of_data", "closed by the server", 3)


class ShutsDownAfterThree(Script):
    def mail(self, line: str) -> None:
        if self.taken == 3:
            self.say("421 4.3.2 shutting down")
            self.hang_up()
        super().mail(line)


@pytest.mark.parametrize("pipelining", ["auto", "off"])
def test_a_421_after_three_messages_refuses_the_fourth_for_now(pipelining: str) -> None:
    from trafficgen import Pipelining

    with scripted(ShutsDownAfterThree) as server:
        results = send(server.port, messages=12, session={"pipelining": Pipelining(pipelining)})
        assert server.sessions == 3
    assert counts(results) == Counts(accepted=9, rejected_temporary=3)
    assert replies(results, "mail") == {250: 9, 421: 3}
    assert results.failures == ()


class RefusesEveryThird(Script):
    sender_count = 0

    def mail(self, line: str) -> None:
        self.sender_count += 1
        self.say("550 5.7.1 never" if self.sender_count % 3 == 0 else "250 2.1.0 ok")

    def rcpt(self, line: str) -> None:
        self.say("503 5.5.1 no sender" if self.sender_count % 3 == 0 else "250 2.1.5 ok")

    def data(self, line: str) -> None:
        if self.sender_count % 3 == 0:
            self.say("503 5.5.1 no recipient")
        else:
            super().data(line)


def test_refused_senders_cost_no_session() -> None:
    with scripted(RefusesEveryThird) as server:
        results = send(server.port, messages=30)
        assert server.sessions == 1
    assert counts(results) == Counts(accepted=20, rejected_permanent=10)
    assert replies(results, "mail") == {250: 20, 550: 10}
    assert replies(results, "rset") == {250: 10}


def test_the_first_refusal_ends_the_run_with_the_servers_words() -> None:
    with scripted(RefusesEveryThird) as server:
        results = send(server.port, messages=30, keep_going=False)
    assert counts(results) == Counts(accepted=2, rejected_permanent=1, not_started=27)
    assert results.stopped_by is StoppedBy.FIRST_ERROR
    assert [reply.example for reply in results.replies if reply.code == 550] == ["never"]


class RefusesTheSecondRecipient(Script):
    def mail(self, line: str) -> None:
        self.asked = 0
        super().mail(line)

    def rcpt(self, line: str) -> None:
        self.asked += 1
        self.say("550 5.1.1 no such user" if self.asked == 2 else "250 2.1.5 ok")


def test_one_of_three_recipients_refused_still_hands_the_message_over() -> None:
    with scripted(RefusesTheSecondRecipient) as server:
        results = send(server.port, messages=5, workload={"recipients_per_message": ((3, 1.0),)})
    assert counts(results) == Counts(accepted=5)
    assert replies(results, "rcpt") == {250: 10, 550: 5}


class RefusesEveryRecipientButLetsDataThrough(Script):
    def rcpt(self, line: str) -> None:
        self.say("450 4.2.1 mailbox busy")

    def end_of_data(self) -> None:
        self.say("554 5.5.1 no valid recipients")


def test_a_354_without_a_recipient_gets_an_empty_message() -> None:
    with scripted(RefusesEveryRecipientButLetsDataThrough) as server:
        results = send(server.port, messages=5)
        assert server.sessions == 1
    assert counts(results) == Counts(rejected_temporary=5)


# -- servers that are only different --------------------------------------------------------------------


class KnowsHeloOnly(Script):
    def ehlo(self, line: str) -> None:
        self.unknown(line)


class HasNoPipelining(Script):
    extensions = ("8BITMIME",)


class SpeaksInManyLines(Script):
    def greet(self) -> None:
        self.say("220-welcome\r\n220-to this\r\n220 server")

    def mail(self, line: str) -> None:
        self.say("250-2.1.0 sender\r\n250 2.1.0 ok")

    def end_of_data(self) -> None:
        self.say("250-2.0.0 your message\r\n250-2.0.0 has been\r\n250 2.0.0 taken")


class NeverRepeatsItself(Script):
    def end_of_data(self) -> None:
        self.say(f"250 2.0.0 queued as {self.session:03}{self.taken:07X}")


@pytest.mark.parametrize("script", [KnowsHeloOnly, HasNoPipelining, SpeaksInManyLines, NeverRepeatsItself])
def test_a_server_that_is_only_different_takes_everything(script: type[Script]) -> None:
    with scripted(script) as server:
        results = send(server.port, messages=60, sessions=3)
        assert server.sessions == 3
    assert counts(results) == Counts(accepted=60)
    assert results.failures == ()
    assert results.exit_code(keep_going=False) is ExitCode.DONE
