"""Log files as they lie about: packed, rotated, cut off, growing."""

import bz2
import gzip
import lzma
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from trafficgen.errors import ResultsError
from trafficgen.logs.files import Growing, LogFile, in_order
from trafficgen.logs.reading import LogReading
from trafficgen.logs.records import Finished


def line(minute: int, queue_id: str = "4C1949FC4F2") -> str:
    return f"Nov 26 21:{minute:02d}:00 mx postfix/qmgr[1]: {queue_id}: removed\n"


def octets_of(path: Path) -> bytes:
    return b"\n".join(one for block in LogFile(path, 0).blocks() for one in block)


def zstd() -> Any:
    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")


@pytest.mark.parametrize("name", ["plain", "gz", "bz2", "xz", "zst"])
def test_a_packed_log_is_read_like_a_plain_one(tmp_path: Path, name: str) -> None:
    text = "".join(line(minute) for minute in range(50)).encode()
    packed = {
        "plain": lambda: text,
        "gz": lambda: gzip.compress(text),
        "bz2": lambda: bz2.compress(text),
        "xz": lambda: lzma.compress(text),
        "zst": lambda: zstd().compress(text),
    }[name]()
    path = tmp_path / "mail.log"
    path.write_bytes(packed)
    assert octets_of(path) == text.rstrip(b"\n")


@pytest.mark.parametrize("name", ["gz", "xz", "zst"])
def test_a_packed_log_that_is_cut_off_gives_what_it_has_and_says_so(tmp_path: Path, name: str) -> None:
    text = b"".join(line(number % 60, f"{number:011X}").encode() for number in range(50_000))
    packed = {
        "gz": lambda: gzip.compress(text),
        "xz": lambda: lzma.compress(text),
        "zst": lambda: zstd().compress(text),
    }
    path = tmp_path / "mail.log.1"
    path.write_bytes(packed[name]()[:-100])
    about = LogReading({}).read_files([LogFile(path, 0)])
    assert 0 < about.understood < 50_000
    assert about.cut_off == [str(path)]


def test_several_frames_of_zstd_are_one_log(tmp_path: Path) -> None:
    path = tmp_path / "20261126-214713"
    path.write_bytes(zstd().compress(line(1).encode()) + zstd().compress(line(2).encode()))
    assert octets_of(path).count(b"removed") == 2


def test_zstd_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"\x28\xb5\x2f\xfd whatever")
    monkeypatch.setattr("trafficgen.logs.files.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(ResultsError, match=r"needs Python 3\.14 or the package backports\.zstd.*unzstd"):
        list(LogFile(path, 0).blocks())


def test_a_rotated_set_is_read_by_its_stamps_not_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_text(line(30))
    (tmp_path / "mail.log.1").write_text(line(20))
    (tmp_path / "mail.log.2.gz").write_bytes(gzip.compress(line(10).encode()))
    (tmp_path / "mail.log-20261126").write_text("no stamp here\n" + line(25))
    files = in_order(sorted(tmp_path.iterdir()), near_ns=1_795_729_600 * 10**9)
    assert [file.path.name for file in files] == ["mail.log.2.gz", "mail.log.1", "mail.log-20261126", "mail.log"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r'cannot read ".*mail\.log": no such file'):
        in_order([tmp_path / "mail.log"])


def test_lines_of_any_length_are_read_in_pieces_of_a_mib(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(line(1).encode() + b"x" * (3 << 20) + b"\n" + line(2).encode())
    about = LogReading({}).read_files([LogFile(path, 0)])
    assert about.understood == 2
    assert about.not_understood >= 1
    assert all(len(one) <= 1000 for one in about.strange)


# -- a log that is being written ------------------------------------------------------------------------


def test_a_growing_log_gives_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    growing = Growing(path)
    assert growing.new_lines() == []
    path.write_text("one\ntw")
    assert growing.new_lines() == [b"one"]
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert growing.new_lines() == [b"two", b"three"]
    assert growing.new_lines() == []
    growing.close()


def test_a_growing_log_is_followed_across_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text("one\n")
    growing = Growing(path)
    assert growing.new_lines() == [b"one"]
    with path.open("a") as file:  # what came after the last look, before the rotation
        file.write("two\n")
        path.rename(tmp_path / "mail.log.1")
        path.write_text("four\n")
        file.write("three\n")
    assert growing.new_lines() == [b"two", b"three", b"four"]
    growing.close()


def test_a_growing_log_that_is_rotated_by_copying_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text("one\ntwo\n")
    growing = Growing(path)
    growing.new_lines()
    shutil.copy(path, tmp_path / "mail.log.1")
    path.write_text("new\n")
    assert growing.new_lines() == [b"new"]
    growing.close()


def test_handlers_get_the_records_that_they_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text(line(1, "AAAAAAAA") + line(2, "BBBBBBBB") + "Nov 26 21:30:00 mx cron[1]: nothing\nrubbish\n")
    found: list[bytes] = []
    reading = LogReading({Finished: lambda _, zoned, record: found.append(record.queue_id)})
    about = reading.read_files([LogFile(path, 1_795_729_600 * 10**9)])
    assert found == [b"AAAAAAAA", b"BBBBBBBB"]
    assert (about.lines, about.understood, about.foreign, about.not_understood) == (4, 2, 1, 1)
    assert about.strange == [b"rubbish"]
