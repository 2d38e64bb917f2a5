"""Files that are written whole or not at all."""

import os
import select
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mboxgen import atomic_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, octets: bytes) -> None:
    with atomic_file.replacing(path) as file:
        file.write(octets)


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    with atomic_file.replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("error", [OSError(28, "no space"), KeyboardInterrupt(), ValueError()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_file.replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x.json"]


def test_a_planted_link_is_never_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr("mboxgen.atomic_file.secrets.token_hex", lambda _octets: "guessed")
    (tmp_path / ".x.json.guessed.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write(tmp_path / "x.json", b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "x.json").exists()


def test_a_link_at_the_path_itself_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link, dangling = tmp_path / "elsewhere" / "real", tmp_path / "link", tmp_path / "dangling"
    real.write_bytes(b"old")
    link.symlink_to(real)
    dangling.symlink_to(tmp_path / "elsewhere" / "later")
    write(link, b"new")
    write(dangling, b"new")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert names(tmp_path / "elsewhere") == ["later", "real"]
    assert real.read_bytes() == dangling.read_bytes() == b"new"


def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch(mode=0o600)
    write(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_devices_and_descriptors_are_written_to_as_they_are(tmp_path: Path) -> None:
    write(Path("/dev/null"), b"x")
    with (tmp_path / "out").open("wb", buffering=0) as out:
        out.write(b"before ")
        write(Path(f"/dev/fd/{out.fileno()}"), b"between ")
        out.write(b"after")
    assert (tmp_path / "out").read_bytes() == b"before between after"
    with pytest.raises(OSError, match="No space left"):
        write(Path("/dev/full"), b"x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_named_pipe_is_written_to_once_and_without_a_reader_is_an_error(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    atomic_file.check(pipe)
    assert not atomic_file.is_replaced(pipe)
    with pytest.raises(OSError, match="No such device"):
        write(pipe, b"x")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = threading.Thread(target=write, args=(pipe, b"x" * 200_000))
    writer.start()
    assert select.select([reader], [], [], 30)[0]  # before the writer has opened it, a read would see the end
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as file:
        read = file.read()
    writer.join()
    assert read == b"x" * 200_000


def test_names_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    write(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.mkdir(), IsADirectoryError),
        (lambda path: path.parent.rmdir(), FileNotFoundError),
        (lambda path: path.symlink_to(path), OSError),
    ],
    ids=["folder", "no folder", "loop"],
)
def test_a_check_finds_what_would_be_refused_and_leaves_nothing(
    tmp_path: Path, make: Callable[[Path], None], error: type[OSError]
) -> None:
    path = tmp_path / "folder" / "x"
    path.parent.mkdir()
    make(path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error):
        atomic_file.check(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_check_leaves_no_new_file(tmp_path: Path) -> None:
    atomic_file.check(tmp_path / "new")
    assert names(tmp_path) == []
