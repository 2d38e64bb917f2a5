"""Any mbox is read: both line ends, both date forms, all four variants; anything else is refused."""

import gzip
import mailbox
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mboxgen.mbox import from_lines, index, reader
from mboxgen.mbox.reader import Flag, MboxError, open_mbox, read_mbox

FROM = b"From user@example.org Fri Nov 21 22:55:00 2025"


def written(folder: Path, octets: bytes) -> Path:
    path = folder / "a.mbox"
    path.write_bytes(octets)
    return path


def messages(folder: Path, octets: bytes) -> list[bytes]:
    path = written(folder, octets)
    found = list(read_mbox(path))
    with open_mbox(path) as mbox:
        assert [bytes(mbox.crlf(n)) for n in range(len(mbox))] == found
    return found


@pytest.mark.parametrize(
    "line",
    [
        FROM,
        b"From user@example.org Fri Nov  1 22:55:00 2025",
        b"From user@example.org Fri Nov  1 22:55 2025",
        b"From user@example.org Fri Nov  1 22:55:00 CET 2025",
        b"From user@example.org Fri Nov  1 22:55:00 2025 +0100",
        b"From x Fri, 21 Nov 2025 22:55:00 -0000",
        b"From user at example.org  Fri Nov 21 22:55:00 2025",
        b"From - Fri Nov 21 22:55:00 2025",
        b'From "a b"@example.org Fri Nov 21 22:55:00 2025 remote from c',
        b"From  Fri Nov 21 22:55:00 2025",
    ],
)
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_every_form_of_the_from_line_separates(tmp_path: Path, line: bytes, eol: bytes) -> None:
    one = eol.join([b"Subject: 1", b"", b"one", b""])
    two = eol.join([b"Subject: 2", b"", b"two", b"", b"end", b""])
    found = messages(tmp_path, line + eol + one + eol + line + eol + two + eol)
    assert found == [b"Subject: 1\r\n\r\none\r\n", b"Subject: 2\r\n\r\ntwo\r\n\r\nend\r\n"]


def test_a_from_line_in_the_text_without_a_date_is_text(tmp_path: Path) -> None:
    body = b"A: b\r\n\r\nFrom here on, all is text\r\nFrom Fri to Mon 2025\r\n>From x\r\n"
    assert messages(tmp_path, FROM + b"\r\n" + body + b"\r\n") == [body]


def test_the_blank_line_between_messages_may_be_missing(tmp_path: Path) -> None:
    found = messages(tmp_path, FROM + b"\nA: 1\n\none\n" + FROM + b"\nA: 2\n\ntwo\n")
    assert found == [b"A: 1\r\n\r\none\r\n", b"A: 2\r\n\r\ntwo\r\n"]


def test_a_file_that_ends_without_a_line_end_loses_nothing(tmp_path: Path) -> None:
    assert messages(tmp_path, FROM + b"\nA: 1\n\none") == [b"A: 1\r\n\r\none\r\n"]
    assert messages(tmp_path, FROM + b"\r\nA: 1\r\n\r\none") == [b"A: 1\r\n\r\none\r\n"]


def test_empty_messages_are_messages(tmp_path: Path) -> None:
    assert messages(tmp_path, (FROM + b"\n") * 3) == [b"", b"", b""]


def test_quoted_from_lines_are_left_alone(tmp_path: Path) -> None:
    assert messages(tmp_path, FROM + b"\nA: 1\n\n>From x\n>>From y\n\n") == [b"A: 1\r\n\r\n>From x\r\n>>From y\r\n"]


def test_content_length_is_believed_where_it_fits_and_only_there(tmp_path: Path) -> None:
    inner = FROM + b"\nquoted nothing\n"
    good = b"Content-Length: %d\n\n" % len(inner) + inner
    wrong = b"Content-Length: 3\n\nlonger than three\n"
    found = messages(tmp_path, FROM + b"\n" + good + b"\n" + FROM + b"\n" + wrong + b"\n" + FROM + b"\n" + good)
    assert found == [part.replace(b"\n", b"\r\n") for part in (good, wrong, good)]


@pytest.mark.parametrize(
    ("octets", "fragment"),
    [
        (b"", "is empty"),
        (b"Subject: a mail, no mbox\n\nbody\n", 'found "Subject: a mail, no mbox"'),
        (b"From nowhere\n", 'found "From nowhere"'),
        (b"\x00\xff\xfe", "a first line such as"),
        (b"PK\x03\x04rest", "a zip file"),
        # Without a fixed time two processes of one run may collect tests of different names.
        (gzip.compress(FROM * 99, mtime=0)[:-9], "cut off or damaged"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\x01\x01\x01\x01\n" + FROM + b"\nA: 1\n\n", "an MMDF file"),
        (FROM + b"\rA: 1\r\rone\r", "end in CR alone"),
        (FROM + b"\r\r\nA: 1\r\r\n\r\r\none\r\r\n", "CR CR LF"),
        (FROM, "without a line end"),
        ((FROM + b"\nA: 1\n\n").decode().encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_mbox_is_refused_with_what_it_is(tmp_path: Path, octets: bytes, fragment: str) -> None:
    path = written(tmp_path, octets)
    for read in (open_mbox, lambda path: list(read_mbox(path))):
        with pytest.raises(MboxError, match=r".") as caught:
            read(path)
        assert fragment in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MboxError, match="has neither"):
        open_mbox(tmp_path)
    with pytest.raises(MboxError, match="No such file"):
        open_mbox(tmp_path / "missing")
    with pytest.raises(MboxError, match="neither a regular file nor a pipe"):
        open_mbox("/dev/null")


def test_crlf_messages_are_handed_over_without_a_copy(tmp_path: Path) -> None:
    path = written(tmp_path, FROM + b"\r\nA: 1\r\n\r\none\r\n\r\n")
    with open_mbox(path) as mbox:
        view = mbox.crlf(0)
        assert isinstance(view, memoryview)
        assert mbox.from_line(0) == FROM
        view.release()


def test_reading_a_message_fills_its_record(tmp_path: Path) -> None:
    body = b".dot\nFrom me\nlong " + b"x" * 995 + b"\n\xe4\0\n"
    path = written(tmp_path, FROM + b"\nA: 1\n\n" + body + b"\n")
    crlf = b"A: 1\r\n\r\n" + body.replace(b"\n", b"\r\n")
    with open_mbox(path) as mbox:
        mbox.compute_checksums()
        record = mbox.records[0]
        assert record["header_length"] == 6
        assert record["crc32"] == zlib.crc32(crlf)
        assert record["body_crc32"] == zlib.crc32(crlf[8:])
        assert record["delivered"] == len(crlf)
        flags = Flag(int(record["flags"]))
    assert flags == (
        Flag.LF_ONLY
        | Flag.LEADING_DOT
        | Flag.FROM_LINE
        | Flag.LONG_LINE
        | Flag.EIGHT_BIT
        | Flag.NUL
        | Flag.CHECKSUMS_KNOWN
    )


@pytest.mark.parametrize(("length", "long"), [(998, False), (999, True)])
def test_a_line_is_long_above_998_octets(tmp_path: Path, length: int, long: bool) -> None:
    path = written(tmp_path, FROM + b"\r\nA: 1\r\n\r\n" + b"x" * length + b"\r\n\r\n")
    with open_mbox(path) as mbox:
        assert bool(int(mbox.records[0]["flags"]) & Flag.LONG_LINE) is long


class TestIndex:
    def made(self, folder: Path) -> Path:
        path = written(folder, (FROM + b"\r\nA: 1\r\n\r\none\r\n\r\n") * 300)
        with open_mbox(path) as mbox:
            mbox.compute_checksums()
            index.write(index.path_of(path), path, mbox.records)
        return path

    def test_is_used_when_it_belongs_to_the_file(self, tmp_path: Path) -> None:
        path = self.made(tmp_path)
        with open_mbox(path) as mbox:
            assert mbox.indexed
            assert len(mbox) == 300
            assert mbox.records.dtype.itemsize == 32
            assert bytes(mbox.octets(299)) == b"A: 1\r\n\r\none\r\n"

    def test_still_belongs_to_a_copy_with_another_time(self, tmp_path: Path) -> None:
        import os

        path = self.made(tmp_path)
        os.utime(path, ns=(1, 1))
        with open_mbox(path) as mbox:
            assert mbox.indexed

    @pytest.mark.parametrize(
        "change",
        [
            lambda path: path.write_bytes(path.read_bytes() + b"x"),
            lambda path: path.write_bytes(path.read_bytes().replace(b"one", b"two")),
            lambda path: index.path_of(path).write_bytes(b"MBOXIDX\n"),
            lambda path: index.path_of(path).write_bytes(index.path_of(path).read_bytes()[:-1]),
            lambda path: index.path_of(path).write_bytes(b"x" * 500),
            lambda path: index.path_of(path).unlink(),
        ],
    )
    def test_is_left_aside_when_it_does_not(self, tmp_path: Path, change: object) -> None:
        path = self.made(tmp_path)
        change(path)  # type: ignore[operator]
        with open_mbox(path) as mbox:
            assert not mbox.indexed
            assert len(mbox) == 300


def test_the_index_is_laid_out_as_its_page_says(tmp_path: Path) -> None:
    message = b"A: b\r\n\r\nbody\r\n"
    path = written(tmp_path, FROM + b"\r\n" + message + b"\r\n" + FROM + b"\n.\n")
    reader.write_index(path).close()
    octets, found = index.path_of(path).read_bytes(), path.stat()
    header, records = octets[:128], octets[128:]
    second = zlib.crc32(b".\r\n")
    begin = len(FROM) + 2
    assert records == struct.pack("<Q6I", begin, 14, 8, zlib.crc32(message), zlib.crc32(b"body\r\n"), 1 << 31, 14) + (
        struct.pack("<Q6I", found.st_size - 2, 2, 2, second, 0, 1 << 31 | 1 | 2 | 1024, 3)
    )
    edges = zlib.crc32(path.read_bytes() * 2)  # the file is shorter than an edge, so both are all of it
    crc = zlib.crc32(records)
    assert header == struct.pack(
        "<8sIIQQQII", b"MBOXIDX\n", 1, 128, 2, found.st_size, found.st_mtime_ns, edges, crc
    ).ljust(128, b"\0")


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        (b"From a Fri Nov 21 22:55:00 2025", True),
        (b"From a Sat Nov  1 22:55:00 2025", True),
        (b"From a Fri Nov 21 22:55:00 2025\r", True),
        (b"From  Fri Nov 21 22:55:00 2025", True),
        (b"From Fri Nov 21 22:55:00 2025", True),
        (b"Fri Nov 21 22:55:00 2025", False),
        (b"From a Fry Nov 21 22:55:00 2025", False),
        (b"From a Fri Nob 21 22:55:00 2025", False),
        (b"From a Fri Nov /1 22:55:00 2025", False),
        (b"From a Fri Nov 2: 22:55:00 2025", False),
        (b"From a Fri Nov 21 22:55:00 202x", False),
        (b"From a Fri Nov 21 22.55:00 2025", False),
        (b"From a Fri Nov 21 22:55:00 2025 ", False),
    ],
)
def test_usual_dates_are_known_many_at_a_time(line: bytes, taken: bool) -> None:
    octets = np.frombuffer(line + b"\n" + b"x" * 30, dtype=np.uint8)
    assert from_lines.asctime_dated(octets, np.array([0]), np.array([len(line)])).tolist() == [taken]


def test_an_index_that_hides_a_bare_line_end_is_not_used(tmp_path: Path) -> None:
    path = written(tmp_path, FROM + b"\r\nA: b\r\n\r\nx\r\ny\n")
    with reader.write_index(path) as mbox:
        records = mbox.records.copy()
    with open_mbox(path) as mbox:
        assert (mbox.indexed, mbox.note) == (True, "")
    records["flags"] &= ~np.uint32(Flag.BARE_LF)
    index.write(index.path_of(path), path, records)
    with open_mbox(path) as mbox:
        assert "its record of message 0 is not of a message" in mbox.note


@pytest.mark.parametrize("kind", ["indexed", "plain", "compressed"])
def test_mail_is_made_ready_for_many_readers(tmp_path: Path, kind: str) -> None:
    path, folder = written(tmp_path, (FROM + b"\nA: b\n\nbody\n\n") * 3), tmp_path / "folder"
    folder.mkdir()
    if kind == "indexed":
        reader.write_index(path).close()
    elif kind == "compressed":
        path.write_bytes(gzip.compress(path.read_bytes()))
    ready, mbox = reader.prepare(path, folder)
    mbox.close()
    assert ready == (path if kind == "indexed" else folder / "corpus.mbox")
    assert ready.is_symlink() == (kind == "plain")
    with open_mbox(ready) as again:
        assert (again.indexed, len(again), again.note) == (True, 3, "")
        assert again.records["crc32"].tolist() == [zlib.crc32(b"A: b\r\n\r\nbody\r\n")] * 3


LINE = st.binary(max_size=30).map(lambda octets: octets.replace(b"\n", b"").replace(b"\r", b""))
BODY = st.lists(LINE.filter(lambda line: not line.startswith(b"From ")), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BODY, min_size=1, max_size=6), st.sampled_from([b"\n", b"\r\n"]))
def test_what_is_written_is_read_back(tmp_path: Path, bodies: list[list[bytes]], eol: bytes) -> None:
    octets = b""
    for body in bodies:
        octets += FROM + eol + b"A: b" + eol + eol + b"".join(line + eol for line in body) + eol
    wanted = [b"A: b\r\n\r\n" + b"".join(line + b"\r\n" for line in body) for body in bodies]
    assert messages(tmp_path, octets) == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40) | st.sampled_from([FROM, b"\n", b"\r\n", b"\r", b"Content-Length: 7\n\n"])))
@example([FROM, b"\n", FROM])
def test_arbitrary_octets_are_read_or_refused_and_never_lost(tmp_path: Path, pieces: list[bytes]) -> None:
    octets = b"".join(pieces)
    path = written(tmp_path, octets)
    try:
        with open_mbox(path) as mbox:
            covered = 0
            mbox.compute_checksums()
            for number in range(len(mbox)):
                record = mbox.records[number]
                assert record["crc32"] == zlib.crc32(mbox.crlf(number))
                assert int(record["offset"]) >= covered
                covered = int(record["offset"]) + int(record["length"])
                assert len(mbox.crlf(number)) == int(record["delivered"])
            assert covered <= len(octets) <= covered + 2
    except MboxError:
        pass


def test_python_reads_the_same_messages(tmp_path: Path) -> None:
    path = written(tmp_path, b"".join(FROM + b"\nA: %d\n\nbody %d\n\n" % (n, n) for n in range(50)))
    box = mailbox.mbox(path, create=False)
    theirs = [box.get_bytes(key).replace(b"\n", b"\r\n") for key in box.keys()]  # noqa: SIM118
    box.close()
    assert list(read_mbox(path)) == theirs
    assert np.all(open_records(path)["length"] > 0)


def open_records(path: Path) -> np.ndarray:
    with open_mbox(path) as mbox:
        return mbox.records.copy()
