"""Mail looks as it did in the archives that presets were measured in, and has nothing that did not exist yet."""

import base64
import datetime as dt
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mboxgen import Recipe, RecipeError, generate, read_mbox
from mboxgen.recipe.profiles import PROFILES, Era
from mboxgen.recipe.sizes import PRESETS

MESSAGES = 3_000
# A share of 3,000 messages has a standard error of at most 0.9 points.
POINTS = 2.5

# SpamAssassin public corpus 2002-2005 and linux-mips list archive, measured 2026: percent of messages, or quantiles.
SHAPES = {
    "sa-ham": {"text/plain": 78.8, "none": 13.5, "text/html": 2.9, "multipart/signed": 2.5,
               "multipart/alternative": 1.5, "multipart/mixed": 0.5},
    "sa-hardham": {"text/html": 47.2, "text/plain": 20.4, "multipart/alternative": 17.2, "none": 12.0},
    "sa-spam": {"text/html": 40.7, "text/plain": 30.0, "none": 13.1, "multipart/alternative": 8.9,
                "multipart/mixed": 5.2, "multipart/related": 2.1},
    "list-2017": {"text/plain": 60.3, "none": 34.1, "multipart/signed": 4.7, "multipart/mixed": 0.9},
}  # fmt: skip
CHARSETS = {
    "sa-ham": {"us-ascii": 46.9, "iso-8859-1": 16.9, "iso-8859-15": 1.9, "utf-8": 0.4},
    "sa-spam": {"iso-8859-1": 46.3, "us-ascii": 16.4, "windows-1252": 10.5, "big5": 1.4, "gb2312": 0.8},
    "list-2017": {"none": 40.4, "utf-8": 32.3, "us-ascii": 19.5, "iso-8859-1": 5.1, "windows-1252": 1.3},
}
ENCODINGS = {
    "sa-ham": {"none": 58.3, "7bit": 30.4, "8bit": 10.8, "quoted-printable": 0.3},
    "sa-spam": {"none": 45.6, "7bit": 21.1, "quoted-printable": 19.9, "8bit": 12.7},
    "list-2017": {"none": 61.5, "8bit": 23.8, "7bit": 9.3, "quoted-printable": 4.2},  # base64 1.2: not made
}
SIGNED = {  # DKIM-Signature, complete ARC sets
    "sa-ham": (0, 0), "sa-hardham": (0, 0), "sa-spam": (0, 0), "list-all": (21.7, 0.6), "list-2017": (47.3, 3.0),
}  # fmt: skip
HEADER_OCTETS = {  # p50, p95, p99
    "sa-ham": (2198, 3446, 4283), "sa-spam": (1262, 2586, 3433), "list-all": (2272, 4785, 8486),
    "list-2017": (3526, 7834, 10763),
}  # fmt: skip
FIELDS = {"sa-ham": (30, 44), "sa-spam": (17, 37), "list-all": (29, 61), "list-2017": (35, 66)}  # p50, p99
RECEIVED = {  # p50, p95, p99
    "sa-ham": (6, 10, 13), "sa-spam": (4, 9, 12), "list-all": (4, 7, 9), "list-2017": (4, 7, 11),
}  # fmt: skip
RECIPIENTS = {  # in To and Cc: p50, p90, p99
    "sa-ham": (1, 2, 4), "sa-spam": (1, 9, 46), "list-all": (4, 19, 52), "list-2017": (11, 35, 67),
}  # fmt: skip


class Corpus:
    """What a corpus of a preset has, message by message."""

    def __init__(self, path: Path) -> None:
        self.messages = [bytes(message) for message in read_mbox(path)]
        self.headers = [message[: message.index(b"\r\n\r\n") + 4] for message in self.messages]
        self.fields = [list(fields_of(header)) for header in self.headers]

    def shares(self, of: Callable[[int], str]) -> dict[str, float]:
        counted = Counter(map(of, range(len(self.messages))))
        return {name: 100 * number / len(self.messages) for name, number in counted.items()}

    def first(self, number: int, name: str) -> str:
        return next((value for field, value in self.fields[number] if field == name), "none")

    def shape(self, number: int) -> str:
        return self.first(number, "content-type").partition(";")[0].strip()

    def encoding(self, number: int) -> str:
        return self.first(number, "content-transfer-encoding")

    def charset(self, number: int) -> str:
        """That of the message, or of its first text."""
        message = self.messages[number]
        found = re.search(rb"Content-Type: text/[a-z]+(?:; charset=([a-z0-9-]+))?\r\n", message)
        return "none" if found is None or found[1] is None else found[1].decode()

    def counts(self, *names: str) -> list[int]:
        return [sum(field in names for field, _ in fields) for fields in self.fields]

    def recipients(self) -> list[int]:
        return [sum(v.count("@") for f, v in fields if f in ("to", "cc")) for fields in self.fields]


def fields_of(header: bytes) -> Iterator[tuple[str, str]]:
    for line in re.sub(rb"\r\n[ \t]", b" ", header).decode("utf-8").split("\r\n"):
        if line:
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Corpus]:
    folder, kept = tmp_path_factory.mktemp("looks"), dict[str, Corpus]()

    def make(preset: str) -> Corpus:
        if preset not in kept:
            generate(Recipe((preset,), count=MESSAGES, seed=11), folder / preset)
            kept[preset] = Corpus(folder / preset)
        return kept[preset]

    return make


Make = Callable[[str], Corpus]


def near(found: dict[str, float], wanted: dict[str, float]) -> None:
    for name, share in wanted.items():
        assert found.get(name, 0) == pytest.approx(share, abs=POINTS), (name, found)


@pytest.mark.parametrize("preset", SHAPES)
def test_shapes_are_as_often_as_in_the_source(made: Make, preset: str) -> None:
    near(made(preset).shares(made(preset).shape), SHAPES[preset])


@pytest.mark.parametrize("preset", CHARSETS)
def test_charsets_are_as_often_as_in_the_source(made: Make, preset: str) -> None:
    near(made(preset).shares(made(preset).charset), CHARSETS[preset])


@pytest.mark.parametrize("preset", ENCODINGS)
def test_transfer_encodings_are_as_often_as_in_the_source(made: Make, preset: str) -> None:
    near(made(preset).shares(made(preset).encoding), ENCODINGS[preset])


@pytest.mark.parametrize("preset", SIGNED)
def test_signatures_are_as_often_as_in_the_source(made: Make, preset: str) -> None:
    for name, wanted in zip(("dkim-signature", "arc-seal"), SIGNED[preset], strict=True):
        share = 100 * np.mean(np.array(made(preset).counts(name)) > 0)
        assert share == pytest.approx(wanted, abs=POINTS if wanted > 5 else wanted / 3), name


@pytest.mark.parametrize("preset", HEADER_OCTETS)
def test_headers_are_as_long_as_in_the_source(made: Make, preset: str) -> None:
    """The median within 5 %, the tail within 10 %."""
    p50, *tail = np.percentile(list(map(len, made(preset).headers)), (50, 95, 99))
    assert p50 == pytest.approx(HEADER_OCTETS[preset][0], rel=0.05)
    assert tail == pytest.approx(HEADER_OCTETS[preset][1:], rel=0.1)


@pytest.mark.parametrize("preset", FIELDS)
def test_headers_have_as_many_fields_as_in_the_source(made: Make, preset: str) -> None:
    """The median within two fields, p99 within a fifth."""
    p50, p99 = np.percentile(list(map(len, made(preset).fields)), (50, 99))
    assert p50 == pytest.approx(FIELDS[preset][0], abs=2)
    assert p99 == pytest.approx(FIELDS[preset][1], rel=0.2)


@pytest.mark.parametrize("preset", RECEIVED)
def test_mail_has_gone_as_many_hops_as_in_the_source(made: Make, preset: str) -> None:
    """The median within half a hop, p95 within one, p99 within a quarter."""
    p50, p95, p99 = np.percentile(made(preset).counts("received"), (50, 95, 99))
    assert p50 == pytest.approx(RECEIVED[preset][0], abs=0.5)
    assert p95 == pytest.approx(RECEIVED[preset][1], abs=1)
    assert p99 == pytest.approx(RECEIVED[preset][2], rel=0.25)


@pytest.mark.parametrize("preset", RECIPIENTS)
def test_mail_has_as_many_recipients_as_in_the_source(made: Make, preset: str) -> None:
    """The median within one, the tail within a tenth or one."""
    p50, *tail = np.percentile(made(preset).recipients(), (50, 90, 99))
    assert p50 == pytest.approx(RECIPIENTS[preset][0], abs=1)
    assert tail == pytest.approx(RECIPIENTS[preset][1:], rel=0.1, abs=1)


@pytest.mark.parametrize("preset", ["sa-ham", "sa-spam", "list-2017"])
def test_raw_8_bit_octets_are_as_often_as_in_the_source(made: Make, preset: str) -> None:
    corpus = made(preset)
    bodies = [m[len(h) :] for m, h in zip(corpus.messages, corpus.headers, strict=True)]
    assert 7 - POINTS < 100 * np.mean([not body.isascii() for body in bodies]) < 15 + POINTS


@pytest.mark.parametrize(("preset", "p50", "above"), [("sa-ham", 75, 25), ("sa-spam", 79, 51), ("list-2017", 81, 61)])
def test_longest_lines_are_as_long_as_in_the_source(made: Make, preset: str, p50: int, above: int) -> None:
    """The median within two octets."""
    corpus = made(preset)
    bodies = [m[len(h) :] for m, h in zip(corpus.messages, corpus.headers, strict=True)]
    longest = np.array([max(map(len, body.split(b"\r\n"))) for body in bodies])
    assert np.median(longest) == pytest.approx(p50, abs=2)
    assert 100 * np.mean(longest > 78) == pytest.approx(above, abs=POINTS)


def test_quoted_printable_has_no_line_above_76(made: Make) -> None:
    corpus = made("sa-spam")
    for number, message in enumerate(corpus.messages):
        if corpus.encoding(number) == "quoted-printable":
            assert max(map(len, message[len(corpus.headers[number]) :].split(b"\r\n"))) <= 76


def signature_fields(corpus: Corpus, *names: str) -> Iterator[dict[str, str]]:
    for name, value in itertools.chain.from_iterable(corpus.fields):
        if name in names:
            tags = dict(tag.strip().split("=", 1) for tag in value.split(";") if tag.strip())
            yield {"": name} | {tag: re.sub(r"\s", "", text) for tag, text in tags.items()}


@pytest.mark.parametrize("preset", ["list-2017", "corp", "b2c-html"])
def test_signatures_and_hashes_are_base64_of_the_right_length_and_never_the_same(made: Make, preset: str) -> None:
    seen: dict[str, list[bytes]] = {"b": [], "bh": []}
    for tags in signature_fields(made(preset), "dkim-signature", "arc-message-signature", "arc-seal"):
        assert (tags[""] == "arc-seal") == ("bh" not in tags)  # RFC 8617 section 4.1.3
        assert tags["a"] == "rsa-sha256"
        for tag in seen.keys() & tags.keys():
            octets = base64.b64decode(tags[tag], validate=True)
            assert base64.b64encode(octets).decode() == tags[tag], "its last character has bits that mean nothing"
            seen[tag].append(octets)
    assert {tag: {len(octets) for octets in found} for tag, found in seen.items()} == {"b": {256}, "bh": {32}}
    for found in seen.values():
        assert len(found) == len(set(found)) > MESSAGES / 3


@pytest.mark.parametrize("preset", ["list-2017", "corp"])
def test_arc_sets_are_complete_and_count_from_one(made: Make, preset: str) -> None:
    """RFC 8617 sections 4.2 and 5.1: one of each field for every instance, the first sealed with cv=none."""
    chains = set()
    for fields in made(preset).fields:
        found = {
            name: [value for field, value in fields if field == name]
            for name in ("arc-seal", "arc-message-signature", "arc-authentication-results")
        }
        instances = [[int(re.match(r"i=(\d+);", value)[1]) for value in values] for values in found.values()]
        assert instances[0] == instances[1] == instances[2] == sorted(instances[0], reverse=True)
        assert sorted(instances[0]) == list(range(1, len(instances[0]) + 1))
        for instance, seal in zip(instances[0], found["arc-seal"], strict=True):
            assert f"cv={'none' if instance == 1 else 'pass'};" in seal
        chains.add(len(instances[0]))
    assert chains == {0, 1, 2}


def test_signers_are_the_senders(made: Make) -> None:
    corpus = made("list-2017")
    signed = [dict(fields) for fields in corpus.fields if any(name == "dkim-signature" for name, _ in fields)]
    for fields in signed:
        domain = re.search(r"d=([^;]+);", fields["dkim-signature"])
        assert domain is not None
        assert f"@{domain[1]}>" in fields["from"]


LATER = {  # what came when, as octets in a message
    dt.date(2004, 7, 1): (b"with ESMTPS",),
    dt.date(2006, 11, 1): (b"openxmlformats", b"%PDF-1.7"),
    dt.date(2007, 6, 1): (b"DKIM-Signature:", b"Authentication-Results:"),
    dt.date(2015, 1, 1): (b"X-MS-Exchange", b"X-Microsoft-Exchange", b"SpamAssassin 3.4.1"),
    dt.date(2016, 1, 1): (b"ARC-Seal:",),
    dt.date(2017, 1, 1): (b"One-Click", b"Rspamd"),
}


@pytest.mark.parametrize("preset", ["sa-ham", "sa-hardham", "sa-spam", "list-all", "freebsdnet-2002", "list-2017"])
def test_nothing_is_older_than_it_can_be(made: Make, preset: str) -> None:
    corpus, look = made(preset), PROFILES[PRESETS[preset].profile]
    for number, message in enumerate(corpus.messages):
        date = dt.datetime.strptime(corpus.first(number, "date"), "%a, %d %b %Y %H:%M:%S %z").date()
        assert look.era.start <= date < look.era.start + dt.timedelta(look.era.days)
        for since, things in LATER.items():
            assert date >= since or not any(thing in message for thing in things), (date, since)


@pytest.mark.parametrize("look", PROFILES)
def test_a_start_before_the_time_of_a_look_is_refused(look: str) -> None:
    era = PROFILES[look].era
    Recipe(("4kb",), count=1, look=look, start=era.since)
    if era is not Era.TIMELESS:
        with pytest.raises(RecipeError, match=f"did not exist before {era.since}, got --start"):
            Recipe(("4kb",), count=1, look=look, start=era.since - dt.timedelta(1))


def message_ids(recipe: Recipe, folder: Path) -> set[bytes]:
    path = folder / f"{recipe.digest}-{recipe.lf}.mbox"
    generate(recipe, path)
    return {re.search(rb"\r\nMessage-ID: (\S+)\r\n", bytes(message))[1] for message in read_mbox(path)}


def test_no_two_corpora_share_a_message_id(tmp_path: Path) -> None:
    recipes = [
        Recipe(("sa-ham",), count=50),
        Recipe(("list-2017",), count=50),
        Recipe(("sa-ham",), count=60),
        Recipe(("sa-ham",), count=50, seed=1),
        Recipe(("sa-ham",), count=50, days=9),
    ]
    found = [message_ids(recipe, tmp_path) for recipe in recipes]
    assert sum(map(len, found)) == len(set().union(*found)) == 260


def test_the_form_of_the_file_changes_no_message_id(tmp_path: Path) -> None:
    from mboxgen.recipe.recipe import Eol, Format

    plain = Recipe(("sa-ham",), count=50)
    assert message_ids(plain, tmp_path) == message_ids(Recipe(("sa-ham",), count=50, eol=Eol.LF), tmp_path)
    assert plain.digest == Recipe(("sa-ham",), count=50, format=Format.MAILDIR).digest


def test_message_ids_have_the_domain_asked_for(tmp_path: Path) -> None:
    found = message_ids(Recipe(("sa-ham",), count=5, id_domain="mail.corp.test"), tmp_path)
    assert all(identity.endswith(b"@mail.corp.test>") for identity in found)


@pytest.mark.parametrize("domain", ["", "a b", "a@b", "-a.test", "a..test", "a.test.", "x" * 65, "bücher.test", "a>.b"])
def test_a_domain_that_no_message_id_can_have_is_refused(domain: str) -> None:
    with pytest.raises(RecipeError, match="id-domain must be a domain of at most 64"):
        Recipe(("sa-ham",), count=5, id_domain=domain)
