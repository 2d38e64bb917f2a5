"""Logging in: every mechanism, many users, servers that refuse or talk nonsense; no secret is shown."""

import base64
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.check.lab import PASSWORD, USER, lab
from tests.peers.running import Counts, counts, send
from tests.peers.scripted import Script, scripted
from tests.sink.sink_process import sink_process
from trafficgen import Auth, AuthUsers, Mechanism, PlanError, Results, Security, TcpTarget, TlsOptions
from trafficgen.engine.password import Draw, Login, read_logins

SECRET = "a-secret-word"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(SECRET + "\n", encoding="utf-8")
    return path


def failure(results: Results) -> tuple[str, str, str]:
    (found,) = results.failures
    return found.phase, found.reason, found.example


@pytest.mark.parametrize("mechanism", [*Mechanism, None])
def test_every_mechanism_logs_in_to_a_sink_that_knows_the_password(password: Path, mechanism: Mechanism | None) -> None:
    with sink_process("127.0.0.1:0", "--require-auth", "--auth-password-file", str(password)) as sink:
        results = send(sink.port, messages=4, sessions=2, session={"auth": Auth("anna", password, mechanism)})
        assert counts(results) == Counts(accepted=4)
        timed = results.latency_ns["auth"]
        assert timed is not None
        assert timed.count == 2
        wrong = password.with_name("wrong")
        wrong.write_text("another word\n")
        results = send(sink.port, messages=1, session={"auth": Auth("anna", wrong, mechanism)})
    assert counts(results) == Counts(failed=1)
    assert failure(results) == ("auth", "refused by the server", "535 5.7.8 wrong name or password")
    assert "another word" not in results.to_json()


def test_postfix_and_dovecot_let_in_who_is_known(tmp_path: Path) -> None:
    mechanisms = "plain login cram-md5 scram-sha-256"
    with sink_process("127.0.0.1:0") as outside, lab(outside.port, right=True, mechanisms=mechanisms) as right:
        tls = TlsOptions(authority=right.authority, server_name="mail.lab.test", resume=True)
        for mechanism in (Mechanism.PLAIN, Mechanism.LOGIN, Mechanism.CRAM_MD5, Mechanism.SCRAM_SHA_256):
            session = {
                "security": Security.STARTTLS, "tls": tls, "max_messages": 1,
                "auth": Auth(USER, right.password_file, mechanism),
            }  # fmt: skip
            results = send(TcpTarget("127.0.0.1", right.ports["submission"]), messages=3, session=session)
            assert counts(results) == Counts(accepted=3)
            assert sum(one.resumed for one in results.tls) == 2
            assert PASSWORD not in results.to_json()
        wrong = tmp_path / "wrong"
        wrong.write_text("guessed\n")
        session = {"security": Security.TLS, "tls": tls, "auth": Auth(USER, wrong)}
        results = send(TcpTarget("127.0.0.1", right.ports["smtps"]), messages=1, session=session)
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("auth", "refused by the server")
    assert failure(results)[2].startswith("535 5.7.8")


# -- many users -----------------------------------------------------------------------------------------


class KnowsEverybody(Script):
    extensions = ("AUTH PLAIN",)
    users: list[str] = []  # noqa: RUF012  (a list for the test, made anew by it)

    def unknown(self, line: str) -> None:
        self.users.append(base64.b64decode(line.split()[2]).decode().split("\0")[1])
        self.say("235 2.7.0 welcome")


def test_each_session_is_one_of_the_users(tmp_path: Path) -> None:
    KnowsEverybody.users = []
    path = tmp_path / "users.csv"
    path.write_text('user,password,weight\nanna,one,1\n"bert, b.",two,1\nnobody,three,0\n')
    with scripted(KnowsEverybody) as server:
        results = send(server.port, messages=40, session={"auth": AuthUsers(path), "max_messages": 1})
    assert counts(results) == Counts(accepted=40)
    assert set(KnowsEverybody.users) == {"anna", "bert, b."}
    assert len(KnowsEverybody.users) == 40


def test_users_are_drawn_by_weight() -> None:
    draw = Draw([Login("a", "x", 3.0), Login("b", "y", 1.0)], "seed")
    drawn = Counter(login.user for login in (draw.next() for _ in range(4000)) if login)
    assert 2800 < drawn["a"] < 3200
    assert "x" not in repr(Login("a", "x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'expected a first row "user,password" or "user,password,weight"'),
        ("anna,hush-hush\n", 'expected a first row "user,password"'),
        ("user,password\n", "found none"),
        ("user,password\nanna,hush-hush\nbert,\n", "line 3: expected a password"),
        ("user,password\nanna,hush-hush,more\n", "line 2: expected as many columns"),
        ("user,password,weight\nanna,hush-hush,much\n", "line 2: expected a weight of 0 or more"),
        ("user,password,weight\nanna,hush-hush,0\n", "expected a user with a weight above 0"),
        ("user,password\n,hush-hush\n", "line 2: expected a user name"),
        ('user,password\nanna,"hush-hush\n', "line 2: "),
    ],
)
def test_a_bad_file_of_users_is_named_with_its_line_and_without_a_secret(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "users.csv"
    path.write_text(text)
    with pytest.raises(PlanError, match=re.escape(words)) as found:
        read_logins(AuthUsers(path))
    assert "hush-hush" not in str(found.value)
    assert "users.csv" in str(found.value)


# -- servers that refuse or talk nonsense ----------------------------------------------------------------


class RepeatsWhatItHeard(Script):
    extensions = ("AUTH PLAIN",)

    def unknown(self, line: str) -> None:
        self.say(f"535 5.7.8 {line} that is {base64.b64decode(line.split()[2]).decode()!r}")


def test_a_server_that_repeats_the_password_does_not_get_it_into_the_results(password: Path) -> None:
    with scripted(RepeatsWhatItHeard) as server:
        results = send(server.port, messages=1, session={"auth": Auth("anna", password)})
    assert failure(results)[:2] == ("auth", "refused by the server")
    assert failure(results)[2].startswith("535 5.7.8 AUTH PLAIN *** that is")
    assert SECRET not in results.to_json()


class SaysGarbage(Script):
    extensions = ("AUTH LOGIN CRAM-MD5 SCRAM-SHA-256",)

    def unknown(self, line: str) -> None:
        self.say("334 this is not base64!")
        self.stay_silent()


@pytest.mark.parametrize("mechanism", [Mechanism.LOGIN, Mechanism.CRAM_MD5, Mechanism.SCRAM_SHA_256])
def test_a_challenge_that_is_garbage_fails_the_session(password: Path, mechanism: Mechanism) -> None:
    with scripted(SaysGarbage) as server:
        results = send(server.port, messages=1, session={"auth": Auth("anna", password, mechanism)})
    assert counts(results) == Counts(failed=1)
    assert failure(results) == ("auth", "malformed challenge", "334 this is not base64!")


class AcceptsAtOnce(Script):
    extensions = ("AUTH SCRAM-SHA-256 CRAM-MD5 LOGIN",)

    def unknown(self, line: str) -> None:
        self.say("235 2.7.0 welcome")


@pytest.mark.parametrize(
    ("mechanism", "reason"),
    [
        (Mechanism.SCRAM_SHA_256, "server not authenticated"),
        (Mechanism.CRAM_MD5, "accepted without credentials"),
        (Mechanism.LOGIN, "accepted without credentials"),
    ],
)
def test_a_235_that_comes_too_early_is_not_believed(password: Path, mechanism: Mechanism, reason: str) -> None:
    with scripted(AcceptsAtOnce) as server:
        results = send(server.port, messages=1, session={"auth": Auth("anna", password, mechanism)})
    assert counts(results) == Counts(failed=1)
    assert failure(results)[:2] == ("auth", reason)


class AsksForEver(Script):
    extensions = ("AUTH PLAIN XOAUTH2",)

    def unknown(self, line: str) -> None:
        self.say("334 ")


@pytest.mark.parametrize("mechanism", [Mechanism.PLAIN, Mechanism.XOAUTH2])
def test_a_challenge_too_many_fails_the_session(password: Path, mechanism: Mechanism) -> None:
    with scripted(AsksForEver) as server:
        results = send(server.port, messages=1, session={"auth": Auth("anna", password, mechanism)})
    assert failure(results)[:2] == ("auth", "a challenge too many")


def test_auth_that_is_not_offered_is_said(password: Path) -> None:
    with scripted(Script) as server:
        results = send(server.port, messages=1, session={"auth": Auth("anna", password)})
    assert failure(results) == ("auth", "AUTH not offered", "the server offers no AUTH")
