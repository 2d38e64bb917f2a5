"""Addresses that were given: who gets what, columns in headers, and files with something wrong."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.errors import ExitCode, PlanError
from trafficgen.plan import Corpus, Header, WeightedAddress, WeightedDomain
from trafficgen.proof import trace_header
from trafficgen.workload.address_book import read_recipients

ANN, BOB, EVE = (WeightedAddress(f"{name}@{place}", weight) for name, place, weight in (
    ("ann", "lab.test", 6.0), ("bob", "lab.test", 3.0), ("eve", "other.test", 1.0)))  # fmt: skip
"""Six tenths, three, one."""


def recipients(message):
    return re.findall(rb"RCPT TO:<([^>]*)>", message.envelope)


def test_shares_and_domains(messages_of, delivered):
    messages = messages_of(recipients=(ANN, BOB, EVE), domains=(WeightedDomain("unused.test"),))
    block = messages.block(0, 20_000)
    assert messages.domains == ("lab.test", "other.test")
    assert messages.shares.tolist() == pytest.approx([0.9, 0.1])
    got = Counter(address for message in block for address in recipients(message))
    for one in (ANN, BOB, EVE):
        assert got[one.address.encode()] / 20_000 == pytest.approx(one.weight / 10, rel=0.1)
    for number in (0, 7, 19_999):
        message = block[number]
        to = recipients(message)[0].decode()
        assert messages.domains[message.domain] == to.partition("@")[2]
        assert f"\r\nTo: <{to}>\r\n".encode() in delivered(message)
    assert messages.domain_of(0, 20_000).tolist() == [message.domain for message in block]


@given(st.lists(st.sampled_from(["a", "b.c", "d+e", "f_g"]), min_size=1, max_size=4, unique=True), st.integers(1, 4))
def test_recipients_of_a_message_are_different(messages_of, names, count):
    addresses = tuple(WeightedAddress(f"{name}@lab.test") for name in names)
    if count > len(names):
        with pytest.raises(PlanError, match="no more addresses"):
            messages_of(recipients=addresses, recipients_per_message=((count, 1.0),))
        return
    messages = messages_of(recipients=addresses, recipients_per_message=((count, 1.0),))
    block = messages.block(0, 50)
    for message in block:
        got = recipients(message)
        assert len(got) == len(set(got)) == count
        assert set(got) <= {one.address.encode() for one in addresses}
    assert messages.digests_of(0, 50).tolist() == [trace_header.digest(recipients(one)) for one in block]


def test_senders(messages_of, delivered):
    block = messages_of(from_addresses=(ANN, BOB, EVE)).block(0, 20_000)
    got = Counter(re.match(rb"MAIL FROM:<([^>]*)>", message.envelope)[1] for message in block)
    assert got[b"eve@other.test"] / 20_000 == pytest.approx(0.1, rel=0.1)
    sender = re.match(rb"MAIL FROM:<([^>]*)>", block[0].envelope)[1]
    assert b"\r\nFrom: <" + sender + b">\r\n" in delivered(block[0])


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(
        "name,address,weight,plan\r\n"
        "Ann,ann@lab.test,1,gold\r\n"
        '"Bob, Jr\nof Lab",bob@lab.test,1,free\r\n'
        "\r\n"
        "Zoë,zoe@other.test,2,free\r\n",
        newline="",
    )
    return path


def test_columns_in_headers(messages_of, delivered, listed):
    headers = (
        Header("Subject", (("For {name}", 1.0), ("{plan}: {{unknown}} {name}", 1.0))),
        Header("X-Plan", (("{plan}", 1.0),)),
    )
    block = messages_of(recipients_file=listed, headers=headers).block(0, 200)
    seen = set()
    for message in block:
        stored, to = delivered(message), recipients(message)[0]
        subject = re.search(rb"\r\nSubject: ((?:.|\r\n )*?)\r\n(?! )", stored)[1]
        seen.add((to, subject.replace(b"\r\n", b"")))
        plan = {b"ann@lab.test": b"gold"}.get(to, b"free")
        assert b"\r\nX-Plan: " + plan + b"\r\n" in stored
    assert (b"bob@lab.test", b"For Bob, Jr of Lab") in seen
    assert (b"ann@lab.test", b"gold: {unknown} Ann") in seen
    assert (b"zoe@other.test", b"For =?utf-8?q?Zo=C3=AB?=") in {(to, one) for to, one in seen} or any(
        to == b"zoe@other.test" and one.startswith(b"=?utf-8?") for to, one in seen
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "one column \"address\""),
        ("mail,name\nann@lab.test,Ann\n", "one column \"address\""),
        ("address,address\na@b.test,a@b.test\n", "one column \"address\""),
        ("address\n", "rows with addresses"),
        ("address,name\nann@lab.test\n", "line 2: expected 2 columns, found 1"),
        ("address,weight\nann@lab.test,1\nbob@lab.test,much\n", "line 3: expected a number for weight"),
        ("address,weight\nann@lab.test,-1\n", "line 2: the weight"),
        ("address,weight\nann@lab.test,nan\n", "line 2: the weight"),
        ("address\nann\n", "line 2: expected an address"),
        ("address\na@b@lab.test\n", "line 2: expected an address"),
        ("address\n\"ann@lab.test\n", "unexpected end of data"),
        ("address\nann\x00@lab.test\n", "line 2"),
    ],
)  # fmt: skip
def test_a_file_with_something_wrong(messages_of, tmp_path, text, words):
    path = tmp_path / f"bad{abs(hash(text))}.csv"
    path.write_text(text)
    with pytest.raises(PlanError, match=re.escape(words)) as refused:
        messages_of(recipients_file=path)
    assert str(path) in str(refused.value)
    assert str(refused.value).isprintable()


def test_no_such_file(messages_of, tmp_path):
    with pytest.raises(PlanError, match="no such file"):
        messages_of(recipients_file=tmp_path / "nothing.csv")


def test_a_column_that_is_not_there_is_refused_and_the_nearest_named(listed, capsys):
    from trafficgen.cli.program import call

    there = ["--recipients-from", str(listed), "--message-count", "1", "--dry-run"]
    for options, words in (
        (["--subject", "For {nme}"], '"{nme}"; did you mean "{name}"; as text it is "{{nme}}" (--subject)'),
        (["--header", "X-Plan: {plam}"], '"{plam}"; did you mean "{plan}"; as text it is "{{plam}}" (--header)'),
        (["--subject", "{?!}"], '"{?!}", its columns are name, address, weight, plan; as text it is "{{?!}}"'),
        (["--subject", "{nme}", "--recipients", "2"], 'did you mean "{name}"'),
    ):
        assert call([*there, *options]) is ExitCode.USAGE
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


@given(st.text(alphabet="{}ab", max_size=12))
def test_doubled_braces_are_braces(messages_of, delivered, listed_once, text):
    header = Header("X-Text", ((f"x{text}".replace("{", "{{").replace("}", "}}"), 1.0),))
    with_column = Header("X-Name", (("{{{address}}}" + header.values[0][0], 1.0),))
    (message,) = messages_of(recipients_file=listed_once, headers=(header, with_column)).block(0, 1)
    assert f"\r\nX-Text: x{text}\r\n".encode() in delivered(message)
    assert f"\r\nX-Name: {{ann@lab.test}}x{text}\r\n".encode() in delivered(message)


@pytest.fixture(scope="module")
def listed_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "people.csv"
    path.write_text("address\nann@lab.test\n")
    return path


def test_braces_are_text_without_a_file(messages_of, delivered):
    (message,) = messages_of(headers=(Header("Subject", (("For {{name}} {nme}", 1.0),)),)).block(0, 1)
    assert b"\r\nSubject: For {{name}} {nme}\r\n" in delivered(message)


def test_columns_where_there_is_no_row(messages_of, listed, tmp_path):
    header = Header("X-Plan", (("{plan}", 1.0),))
    with pytest.raises(PlanError, match="one recipient"):
        messages_of(recipients_file=listed, headers=(header,), recipients_per_message=((2, 1.0),))
    with pytest.raises(PlanError, match="one recipient"):
        messages_of(recipients_file=listed, recipients=(EVE,), headers=(header,))
    mbox = tmp_path / "x.mbox"
    mbox.write_bytes(b"From a Thu Jan  1 00:00:00 2026\nSubject: x\n\nx\n")
    with pytest.raises(PlanError, match="generated messages"):
        messages_of(recipients_file=listed, headers=(header,), content=Corpus(Path(mbox)))


def test_a_file_that_is_not_text(messages_of, tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes(b"address\n\xff@lab.test\n")
    with pytest.raises(PlanError, match="not UTF-8 text"):
        messages_of(recipients_file=path)


def test_a_subject_that_is_no_header_names_its_own_option():
    with pytest.raises(PlanError) as refused:
        Header("Subject", (("a\nBcc: x", 1.0),))
    assert refused.value.flag == "--subject"


def test_addresses_of_strangers_need_a_word(listed, capsys):
    from trafficgen.cli.program import call

    there = ["--target", "127.0.0.1:9", "--message-count", "1"]
    for options in (["--to", "ann@gmail.com"], ["--to", "ann@lab.test", "--from", "x@gmail.com"]):
        assert call([*there, *options]) is ExitCode.USAGE
        assert "--allow-real-domains" in capsys.readouterr().err
    listed.write_text(listed.read_text().replace("other.test", "gmail.com"))
    assert call([*there, "--recipients-from", str(listed)]) is ExitCode.USAGE
    assert "gmail.com" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "ann"], "expected an address"),
        (["--to", "ann@lab.test:x"], "ADDRESS[:WEIGHT]"),
        (["--to", "ann@lab.test:0"], "above zero"),
        (["--to", "ann@lab.test", "--domain", "x.test"], "addresses or domains"),
        (["--recipients-from", "x.csv", "--long-tail", "5:1"], "addresses or domains"),
    ],
)
def test_mistakes(options, words, capsys):
    from trafficgen.cli.program import call

    assert call([*options, "--message-count", "1", "--dry-run"]) is ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_end_to_end(listed, capsys):
    """Through the embedded sink, every message proved."""
    from trafficgen.cli.program import call

    options = [
        "--recipients-from",
        str(listed),
        "--from",
        "news@lab.test",
        "--subject",
        "For {name}:3",
        "--subject",
        "x",
    ]
    assert call([*options, "--message-count", "500", "--quiet"]) is ExitCode.DONE
    assert "500 expected, 500 received, 0 missing" in capsys.readouterr().out


def test_a_pipe_is_refused_because_every_worker_reads_the_recipients(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PlanError, match=r"several processes can read, got the pipe .*save it to a file first"):
        read_recipients(tmp_path / "pipe")
