"""Files of other programs: what separates messages in them, what they are packed in, what is wrong with them."""

import bz2
import gzip
import lzma
import mailbox
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mboxgen import MboxError, Recipe, generate, open_mbox, read_mbox
from mboxgen.flags import Flag
from mboxgen.mbox import index, scan
from mboxgen.mbox import reader as reading
from mboxgen.mbox.statistics import collect_statistics
from mboxgen.recipe.recipe import Eol, Format

FROM = b"From ann@example.org Fri Nov 21 22:55:00 2025\n"
MAIL = b"Subject: n%d\nFrom: ann@example.org\nTo: bob@example.org\n\nbody %d\nsecond line\n"
OTHER = [
    b"From - bob@example.org  Mon Oct 16 2023 16:18:56 GMT-0700\n",
    b"From - Sat Apr 12 2025 15:59:28\n",
    b"From jwz  Fri, Jul 01 09:13:09 1994\n",
    b"From bob@example.org\n",
    b"From \n",
    b"From a@b.test fri nov 21 22:55:00 2025\n",
    b"From 1768432312324@xxx Sat Jun 10 21:25:12 +0000 2023\n",
    b"From user at example.org  Fri Nov 21 22:55:00 2025\n",
    b"From a@b.test 2025-11-21T22:55:00\n",
    b"From a@b.test Fr 21 Nov 2025\n",
]


def written(folder: Path, octets: bytes) -> Path:
    path = folder / "a.mbox"
    path.write_bytes(octets)
    return path


def mails(line: bytes, count: int = 3) -> bytes:
    return b"".join(line + MAIL % (n, n) + b"\n" for n in range(count))


def wanted(count: int = 3) -> list[bytes]:
    return [(MAIL % (n, n)).replace(b"\n", b"\r\n") for n in range(count)]


@pytest.mark.parametrize("line", OTHER)
def test_the_from_lines_that_programs_write_separate(tmp_path: Path, line: bytes) -> None:
    path = written(tmp_path, mails(line))
    assert list(read_mbox(path)) == wanted()
    assert list(read_mbox(written(tmp_path, mails(line).replace(b"\n", b"\r\n")))) == wanted()
    assert collect_statistics(path).oddities.in_words() == []


def test_separators_that_are_partly_odd_lose_nothing(tmp_path: Path) -> None:
    octets = b"".join(line + MAIL % (n, n) + b"\n" for n, line in enumerate([FROM, *OTHER, FROM]))
    assert list(read_mbox(written(tmp_path, octets))) == wanted(len(OTHER) + 2)


@pytest.mark.parametrize("line", [FROM, OTHER[2], OTHER[5], OTHER[7]])
def test_python_git_and_formail_find_the_same_number(
    tmp_path: Path, line: bytes, program: Callable[[str], str]
) -> None:
    text = b"\nFrom what we know, it is text.\n\nFrom here\n"
    octets = b"".join(line + MAIL % (n, n) + text.replace(b"From ", b">From ") + b"\n" for n in range(5))
    path = written(tmp_path, octets)
    with closing(mailbox.mbox(path, create=False)) as box:
        python = len(box)
    split = [program("git"), "mailsplit", f"-o{tmp_path}", str(path)]
    git = subprocess.run(split, capture_output=True, check=True).stdout
    with path.open("rb") as file:
        # One that does not read its message may be gone before formail has written it, which is an error of formail's.
        command = [program("formail"), "-s", "sh", "-c", "cat > /dev/null; echo one"]
        formail = subprocess.run(command, stdin=file, capture_output=True, check=True).stdout
    assert (python, int(git), formail.count(b"one"), len(list(read_mbox(path)))) == (5, 5, 5, 5)


def test_text_that_begins_like_a_from_line_stays_text_and_is_counted(tmp_path: Path) -> None:
    body = b"A: 1\n\nFrom a\n>From b\n\nFrom Berlin\nwe went on\n\nFrom Rome: on\nand: on we went, but\nno header\n"
    path = written(tmp_path, FROM + body + b"\n" + FROM + b"B: 2\n\n\n")
    found = collect_statistics(path)
    assert [len(list(read_mbox(path))), found.messages, found.oddities.text_from_lines] == [2, 2, 3]
    assert '3 lines begin with "From "' in found.oddities.in_words()[0]
    assert found.oddities.in_words()[0].endswith('"From a"')


@pytest.mark.parametrize("before", [b"\n", b"\n\n\n", b"\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_blank_lines_and_a_mark_at_the_start_are_passed_over(tmp_path: Path, before: bytes) -> None:
    assert list(read_mbox(written(tmp_path, before + mails(FROM)))) == wanted()


@pytest.mark.parametrize("crlf_from", [True, False])
def test_line_ends_of_from_lines_may_be_others_than_those_of_the_mail(tmp_path: Path, crlf_from: bool) -> None:
    line, mail = FROM, MAIL % (0, 0) + b"\n"
    octets = line.replace(b"\n", b"\r\n") + mail if crlf_from else line + mail.replace(b"\n", b"\r\n")
    path = written(tmp_path, octets * 3)
    assert list(read_mbox(path)) == wanted(1) * 3
    with open_mbox(path) as mbox:
        assert mbox.records["delivered"].tolist() == [len(wanted(1)[0])] * 3
        split = (MAIL % (0, 0)).index(b"\n\n") + 2
        assert mbox.records["header_length"].tolist() == [split + 0 if crlf_from else split + 4] * 3


def test_content_length_is_believed_message_by_message(tmp_path: Path) -> None:
    counted = b"text\n\nFrom x@y.test Fri Nov 21 22:55:00 2025\nfake\n"
    second = b"Subject: 1\nContent-Length: %d\n\n" % len(counted) + counted
    path = written(tmp_path, FROM + MAIL % (0, 0) + b"\n" + (FROM + second + b"\n") * 3)
    assert list(read_mbox(path)) == [wanted(1)[0], *[second.replace(b"\n", b"\r\n")] * 3]
    assert collect_statistics(path).oddities.text_from_lines == 0


def zstd_compress(octets: bytes) -> bytes:
    """As Python 3.14 does it, or the package of the same code in the extra `dev`."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            zstd = import_module(name)
            # The program zstd writes checksums; without them damage in octets that do not compress is not seen.
            compressed: bytes = zstd.compress(octets, options={zstd.CompressionParameter.checksum_flag: 1})
            return compressed
    message = "backports.zstd is not installed"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd_compress,
}  # fmt: skip


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_compressed_files_are_read_on_the_fly(tmp_path: Path, suffix: str) -> None:
    compress, path = COMPRESSIONS[suffix], tmp_path / f"a.mbox.{suffix}"
    path.write_bytes(compress(mails(FROM)))
    assert list(read_mbox(path)) == wanted()
    assert collect_statistics(path).messages == 3
    path.write_bytes(compress(mails(FROM)) * 2)  # as `cat` joins them
    assert list(read_mbox(path)) == wanted() * 2
    whole = compress(os.urandom(3_000).join([FROM + b"A: 1\n\n", b"\n"]))
    for damaged in (whole[:-20], whole[:100], whole[:1_000] + bytes(100) + whole[1_100:]):
        path.write_bytes(damaged)
        with pytest.raises(MboxError, match="cut off or damaged"):
            open_mbox(path)


def test_zstd_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, b"\x28\xb5\x2f\xfd" + mails(FROM))
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    with pytest.raises(MboxError, match=r"needs Python 3\.14 or the package backports\.zstd .*unzstd"):
        open_mbox(path)


@pytest.mark.parametrize("suffix", ["", *COMPRESSIONS])
def test_a_pipe_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    octets = COMPRESSIONS[suffix](mails(FROM)) if suffix else mails(FROM)
    writer = threading.Thread(target=path.write_bytes, args=(octets,))
    writer.start()
    assert list(read_mbox(path)) == wanted()
    writer.join()
    command = [sys.executable, "-m", "mboxgen", "info", "-"]
    done = subprocess.run(command, input=octets, capture_output=True, check=True)
    assert b"3 messages" in done.stdout


@pytest.mark.parametrize("form", [Format.MAILDIR, Format.EML_DIR])
def test_folders_of_ours_hold_the_messages_of_the_mbox(tmp_path: Path, form: Format) -> None:
    recipe = Recipe(("uniform:700-9000",), count=40, seed=5, look="corporate")
    generate(recipe, tmp_path / "mbox")
    generate(Recipe(recipe.sizes, count=40, seed=5, look="corporate", format=form), tmp_path / "folder")
    assert sorted(read_mbox(tmp_path / "folder")) == sorted(read_mbox(tmp_path / "mbox"))
    assert collect_statistics(tmp_path / "folder").sizes == collect_statistics(tmp_path / "mbox").sizes


def test_a_maildir_is_read_with_its_inner_folders_and_without_tmp(tmp_path: Path) -> None:
    for folder in (tmp_path / "m", tmp_path / "m/.Sent"):
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir(parents=True)
            (folder / name / "1").write_bytes(
                b"From: a\n\nFrom x@y Fri Nov 21 22:55:00 2025\n%s no end" % name.encode()
            )
    found = list(read_mbox(tmp_path / "m"))
    assert len(found) == 4
    assert set(found) == {
        b"From: a\r\n\r\nFrom x@y Fri Nov 21 22:55:00 2025\r\n%s no end\r\n" % name for name in (b"cur", b"new")
    }


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b">From - Sat Apr 12 2025 15:59:28\nSubject: n1\n\nbody\n", ">From - Sat Apr 12 2025 15:59:28"),
        (b"Subject: n1\nDate: x\n.\nContent-Type: text/plain\n\nbody\n", "."),
        (b"Subject: n0\nhello there\nsecond line\n", "hello there"),
        (b" begins with a continuation\nSubject: n0\n\nbody\n", " begins with a continuation"),
        (b"Subject: x\nNo colon\xe4: 5\n\nbody\n", r"No colon\xe4: 5"),
    ],
)
def test_headers_that_a_server_may_mend_are_counted_and_one_is_shown(tmp_path: Path, message: bytes, line: str) -> None:
    path = written(tmp_path, FROM + MAIL % (0, 0) + b"\n" + (FROM + message + b"\n") * 2)
    for oddities in (collect_statistics(path).oddities, open_mbox(path).oddities):
        assert (oddities.odd_headers, oddities.first_odd, oddities.first_odd_line) == (2, 1, line)


def test_headers_with_folded_lines_and_spaces_before_the_colon_are_sound(tmp_path: Path) -> None:
    header = b"Subject : a\n\tb\n c\nX-%s: long name\nA:\n\nno header line\n.\n" % (b"y" * 60)
    assert collect_statistics(written(tmp_path, FROM + header)).oddities.odd_headers == 0


def garbled(records: np.ndarray) -> list[np.ndarray]:
    """Records that cannot be right, each in another way."""
    made = []
    for field, change in (
        ("offset", 1), ("length", -1), ("length", 5), ("offset", 1 << 40), ("header_length", 1 << 20), ("delivered", 7),
    ):  # fmt: skip
        other = records.copy()
        other[field][7] += np.array(change).astype(other[field].dtype)
        made.append(other)
    return [*made, records[::-1].copy(), records[:-1].copy(), records[1:].copy(), np.zeros_like(records)]


@pytest.mark.parametrize("way", range(10))
def test_a_garbled_index_under_a_right_header_is_not_used(tmp_path: Path, way: int) -> None:
    path = tmp_path / "a.mbox"
    generate(Recipe(("2kb",), count=20), path)
    with open_mbox(path) as mbox:
        assert mbox.indexed
        records = mbox.records.copy()
    messages = list(read_mbox(path))
    index.write(index.path_of(path), path, garbled(records)[way])
    with open_mbox(path) as mbox:
        assert not mbox.indexed
        assert "is not used, the file is read instead" in mbox.note
        assert [bytes(mbox.crlf(number)) for number in range(len(mbox))] == messages


def test_records_that_were_changed_after_they_were_written_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    generate(Recipe(("2kb",), count=20), path)
    octets = bytearray(index.path_of(path).read_bytes())
    octets[index.HEADER_OCTETS + 16] ^= 1  # a checksum: nothing that its place could show
    index.path_of(path).write_bytes(octets)
    assert "do not match its own checksum" in collect_statistics(path).note


def test_the_index_of_a_foreign_file_is_written_and_used(tmp_path: Path) -> None:
    octets = b"\n" + b"".join(line + MAIL % (n, n) + b"\n" for n, line in enumerate(OTHER))
    path = written(tmp_path, octets[:-2])
    with reading.write_index(path) as mbox:
        records = mbox.records.copy()
    with open_mbox(path) as mbox:
        assert mbox.indexed
        assert np.array_equal(mbox.records, records)
        assert [bytes(mbox.crlf(number)) for number in range(len(mbox))] == list(read_mbox(path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mbox", "a.mbox.idx"]
    compressed = tmp_path / "a.gz"
    compressed.write_bytes(gzip.compress(octets))
    with pytest.raises(MboxError, match="plain mbox"):
        reading.write_index(compressed)


PIECES = [b"\r", b"\n", b"\r\n", b"\0", b"\xe4", b".", b"From ", b"A: b", b"x" * 40, b":", b" ", b"-"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join), min_size=1, max_size=5), st.data())
def test_what_is_found_out_many_at_a_time_is_what_one_would_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[bytes], data: st.DataObject
) -> None:
    window = data.draw(st.sampled_from([1 << 20, 64]), "window")  # small: a message is examined in pieces
    monkeypatch.setattr(reading, "WINDOW", window)
    folder = tmp_path / "eml"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for number, message in enumerate(messages):
        (folder / f"{number}.eml").write_bytes(message)
    with open_mbox(folder) as mbox:
        for number, message in enumerate(messages):
            assert bytes(mbox.octets(number)) == message
            flags = Flag(int(mbox.records[number]["flags"]))
            crlf = bytes(mbox.crlf(number))
            lines = message.replace(b"\r\n", b"\n").split(b"\n")
            assert bool(flags & Flag.UNTERMINATED) == (message != b"" and not message.endswith(b"\n"))
            assert bool(flags & Flag.NUL) == (b"\0" in message)
            assert bool(flags & Flag.LEADING_DOT) == any(line.startswith(b".") for line in lines)
            assert bool(flags & Flag.BARE_CR) == (b"\r" in message.replace(b"\r\n", b""))
            assert bool(flags & (Flag.EIGHT_BIT | Flag.SMTPUTF8)) == (b"\xe4" in message)
            bare, all_ends = message.replace(b"\r\n", b"").count(b"\n"), message.count(b"\n")
            assert bool(flags & Flag.LF_ONLY) == (0 < bare == all_ends)
            assert bool(flags & Flag.BARE_LF) == (0 < bare < all_ends)
            assert len(crlf) == int(mbox.records[number]["delivered"])
            blank = lines.index(b"") if b"" in lines[:-1] else None
            header = len(message) if blank is None else end_of_line(message, blank)
            assert int(mbox.records[number]["header_length"]) == header


def end_of_line(message: bytes, number: int) -> int:
    """Where the line of this number ends, counted in LFs."""
    at = 0
    for _ in range(number + 1):
        at = message.index(b"\n", at) + 1
    return at


def test_a_long_message_is_examined_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    octets = FROM + b"A: 1\r\nB: 2\r\n\r\n" + b"x" * 70 + b"\r\n" + b"y" * 2000 + b"\r\n.\r\n\r\nend\r\n"
    path = written(tmp_path, octets + b"\r\n" + FROM + b"A: 1\r\n\r\n")
    with open_mbox(path) as mbox:
        mbox.compute_checksums()
        whole = mbox.records.copy()
    monkeypatch.setattr(reading, "WINDOW", 1024)
    with open_mbox(path) as mbox:
        mbox.compute_checksums()
        assert np.array_equal(mbox.records, whole)
    assert Flag(int(whole[0]["flags"])) == Flag.LONG_LINE | Flag.LEADING_DOT | Flag.CHECKSUMS_KNOWN


def test_the_odd_header_line_of_a_long_message_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOW", 1024)
    path = written(tmp_path, FROM + b"A: 1\n\n" + b"x\n" * 2000 + b"\n" + FROM + b"B: 2\nno field\n\n" + b"x\n" * 900)
    oddities = collect_statistics(path).oddities
    assert (oddities.odd_headers, oddities.first_odd, oddities.first_odd_line) == (1, 1, "no field")


MESSAGES = st.lists(st.sampled_from([*PIECES, b"\n\n", b"From x", b"Content-Length: 9\n", b"y" * 9]), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(MESSAGES.map(b"".join), min_size=1, max_size=8), st.integers(8, 300), st.sampled_from([b"\n", b"\r\n"]))
def test_records_are_the_same_whatever_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[bytes], window: int, eol: bytes
) -> None:
    octets = b"".join(FROM.replace(b"\n", eol) + message + eol + eol for message in messages)
    path = written(tmp_path, octets)
    found = []
    for size in (1 << 20, window):
        monkeypatch.setattr(reading, "WINDOW", size)
        monkeypatch.setattr(scan, "WINDOW", size)
        with open_mbox(path) as mbox:
            records = mbox.records.copy()
            # Header lines that are longer than a window, or on its edge, are not known as such.
            records["flags"][records["length"] > window] &= ~np.uint32(Flag.ODD_HEADER)
            found.append((records, mbox.oddities))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1].text_from_lines == found[1][1].text_from_lines


_MEMORY = """
import resource, sys
from pathlib import Path
from mboxgen.mbox.statistics import collect_statistics
collect_statistics(Path(sys.argv[1]))
status = Path("/proc/self/status")  # what getrusage says on Linux counts the process that forked this one
high = [line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line] if status.exists() else []
print(int(high[0]) >> 10 if high else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    grown = []
    for size in (20, 120):
        path = written(tmp_path, mails(FROM, 7_000) * size)
        done = subprocess.run([sys.executable, "-c", _MEMORY, path], capture_output=True, text=True, check=True)
        grown.append(int(done.stdout))
    assert grown[1] < 150
    assert grown[1] - grown[0] < 30


@pytest.mark.parametrize("indexed", [True, False])
def test_headers_are_counted_as_a_server_receives_them(tmp_path: Path, indexed: bool) -> None:
    """The same mail with either line end has the same headers."""
    octets = set()
    for eol in Eol:
        path = tmp_path / f"{eol.value}.mbox"
        generate(Recipe(("uniform:900-4000",), count=200, seed=3, eol=eol), path)
        if not indexed:
            (tmp_path / f"{path.name}.idx").unlink()
        found = collect_statistics(path)
        assert found.indexed is indexed
        octets.add((found.header_octets, found.octets))
    assert len(octets) == 1


def test_a_header_without_its_blank_line_or_a_body(tmp_path: Path) -> None:
    path = tmp_path / "x.mbox"
    path.write_bytes(b"From a Thu Jan  1 00:00:00 2026\nSubject: x\nTo: b\n\nFrom a Thu Jan  1 00:00:00 2026\nTo: b\n")
    assert collect_statistics(path).header_octets == len("Subject: x\r\nTo: b\r\n" + "To: b\r\n")
