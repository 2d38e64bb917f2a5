"""Programs that people use read the same messages out of a corpus as we put in."""

import contextlib
import fcntl
import hashlib
import mailbox
import os
import pty
import shutil
import smtplib
import socket
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mboxgen import Recipe, generate, read_mbox
from mboxgen.recipe.recipe import Eol, Format
from tests.peers.dovecot_config import in_its_words, is_new
from tests.peers.ports import free_port

Program = Callable[[str], str]


@pytest.fixture(scope="module")
def wanted(mixed: Path) -> list[bytes]:
    """The corpus with LF line ends, as readers on Unix give it."""
    return [message.replace(b"\r\n", b"\n") for message in read_mbox(mixed)]


def same(found: list[bytes], wanted: list[bytes]) -> bool:
    return sorted(map(hash_of, found)) == sorted(map(hash_of, wanted))


def hash_of(message: bytes) -> str:
    return hashlib.sha256(message).hexdigest()


def test_python_mailbox(mixed: Path, wanted: list[bytes]) -> None:
    box = mailbox.mbox(mixed, create=False)
    found = [box.get_bytes(key) for key in box.keys()]  # noqa: SIM118  (a mailbox is no mapping)
    box.close()
    assert found == wanted


def test_git_mailsplit(mixed: Path, wanted: list[bytes], tmp_path: Path, program: Program) -> None:
    git = program("git")
    done = subprocess.run([git, "mailsplit", f"-o{tmp_path}", str(mixed)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "300"
    files = sorted(tmp_path.iterdir())
    # git keeps the From_ line and the blank line that separates.
    found = [file.read_bytes().partition(b"\n")[2].removesuffix(b"\n") for file in files]
    assert found == wanted


def test_formail(mixed: Path, wanted: list[bytes], tmp_path: Path, program: Program) -> None:
    formail = program("formail")
    script = f'cat > "{tmp_path}/$FILENO"'
    with mixed.open("rb") as corpus:
        subprocess.run([formail, "-e", "-s", "sh", "-c", script], stdin=corpus, check=True, timeout=60)
    files = sorted(tmp_path.iterdir(), key=lambda file: int(file.name))
    found = [file.read_bytes().partition(b"\n")[2].removesuffix(b"\n") for file in files]
    assert found == wanted


def test_mutt(mixed: Path, wanted: list[bytes], room: tuple[Path, int], program: Program) -> None:
    mutt, (tmp_path, _) = program("mutt"), room
    copy, target = tmp_path / "corpus.mbox", tmp_path / "copied"
    shutil.copy(mixed, copy)
    keys = f"<tag-pattern>.<enter><tag-prefix><copy-message>{target}<enter><exit>"
    (tmp_path / "Mail").mkdir()  # without it mutt asks, and takes a pushed key for the answer
    settings = tmp_path / "settings"
    settings.write_text(
        f'set mbox_type=mbox confirmcreate=no confirmappend=no delete=no quit=yes wait_key=no\npush "{keys}"\n'
    )
    environment = {**os.environ, "TERM": "xterm", "HOME": str(tmp_path)}
    on_a_terminal([mutt, "-n", "-F", str(settings), "-f", str(copy)], environment)
    added = (b"Status:", b"Content-Length:", b"Lines:")
    found = [without(message.replace(b"\r\n", b"\n"), added) for message in read_mbox(target)]
    assert found == [without(message, added) for message in wanted]


def on_a_terminal(command: list[str], environment: dict[str, str]) -> None:
    """Run a program that wants a screen; what it draws is thrown away."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    process = subprocess.Popen(
        command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    with contextlib.suppress(OSError):  # EIO: the program closed its terminal
        while os.read(ours, 1 << 16):
            pass
    os.close(ours)
    assert process.wait(timeout=60) == 0


def without(message: bytes, names: tuple[bytes, ...]) -> bytes:
    """Take out the header fields that a mail reader adds."""
    header, _, body = message.partition(b"\n\n")
    return b"\n".join(line for line in header.split(b"\n") if not line.startswith(names)) + b"\n\n" + body


@pytest.fixture
def room() -> Iterator[tuple[Path, int]]:
    """A folder for programs that must not be root, and the number of the user they run as."""
    user = os.getuid() or 65534
    folder = Path(tempfile.mkdtemp(prefix="mboxgen-room-"))  # below pytest's own folder only root may go
    if os.getuid() == 0:
        os.chown(folder, user, user)
    folder.chmod(0o755)
    yield folder, user
    shutil.rmtree(folder)


def configured(folder: Path, mail_user: int, more: str = "") -> Path:
    """Write a private Dovecot configuration; nothing of the system's is read or touched."""
    lines = f"""
        base_dir = {folder}/run
        log_path = {folder}/log
        mail_location = maildir:{folder}/mail
        mail_uid = {mail_user}
        mail_gid = {mail_user}
        first_valid_uid = 0
        first_valid_gid = 0
        ssl = no
        {more or "protocols ="}
    """
    path = folder / "dovecot.conf"
    path.write_text(in_its_words("\n".join(line.strip() for line in lines.splitlines())))
    return path


@pytest.mark.parametrize("eol", [Eol.LF, Eol.CRLF])
def test_dovecot_import(room: tuple[Path, int], program: Program, eol: Eol) -> None:
    doveadm, (folder, user) = program("doveadm"), room
    (folder / "source").mkdir()
    corpus = folder / "source" / "corpus"
    generate(Recipe(("uniform:700-40000",), count=300, seed=5, look="corporate", eol=eol), corpus)
    corpus.chmod(0o444)
    before = corpus.read_bytes()
    arguments = ["--no-userdb-lookup"] if is_new() else []
    source = f"mbox:{folder}/source" if is_new() else f"mbox:{folder}/source:INDEX=MEMORY"
    command = [doveadm, "-c", str(configured(folder, user)), "-o", "stats_writer_socket_path=", "import", *arguments]
    environment = {**os.environ, "HOME": str(folder), "USER": "tester"}
    root = {"user": user, "group": user, "extra_groups": []} if os.getuid() == 0 else {}
    whole = [*command, source, "", "MAILBOX", "corpus", "ALL"]
    subprocess.run(whole, check=True, timeout=60, env=environment, cwd=folder, **root)  # type: ignore[call-overload]
    found = stored_in(folder / "mail" / ".corpus")
    assert same(found, [message.replace(b"\r\n", b"\n") for message in read_mbox(corpus)])
    assert corpus.read_bytes() == before


def stored_in(maildir: Path) -> list[bytes]:
    return [file.read_bytes() for name in ("cur", "new") for file in (maildir / name).iterdir()]


def test_a_maildir_of_ours_is_a_maildir(tmp_path: Path) -> None:
    generate(Recipe(("5kb",), count=20, seed=5, format=Format.MAILDIR), tmp_path / "box")
    box = mailbox.Maildir(tmp_path / "box", create=False)
    assert sorted(len(box.get_bytes(key)) for key in box.keys()) == sorted(  # noqa: SIM118  (a mailbox is no mapping)
        file.stat().st_size for file in (tmp_path / "box" / "new").iterdir()
    )


@pytest.fixture
def lmtp(room: tuple[Path, int], program: Program) -> Iterator[tuple[int, Path]]:
    """A private Dovecot that takes LMTP on a port of the loopback, and its Maildir; stopped by its own process."""
    dovecot = program("dovecot")
    program("lmtp")
    if os.getuid() != 0:
        pytest.skip("Dovecot's master process wants to be root")
    port, (folder, nobody) = free_port(), room
    more = f"""
        protocols = lmtp
        default_internal_user = nobody
        default_login_user = nobody
        default_internal_group = nogroup
        userdb {{
        driver = static
        args = uid={nobody} gid={nobody} home={folder}/home allow_all_users=yes
        }}
        passdb {{
        driver = static
        args = nopassword=y
        }}
        service lmtp {{
        inet_listener lmtp {{
        address = 127.0.0.1
        port = {port}
        }}
        }}
    """
    command = [dovecot, "-F", "-c", str(configured(folder, nobody, more))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        wait_until_open(port, process)
        yield port, folder / "mail"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "dovecot ended at once"
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail("dovecot did not open its port")


def test_what_an_lmtp_server_stores_has_the_planned_size(tmp_path: Path, lmtp: tuple[int, Path]) -> None:
    port, maildir = lmtp
    corpus = tmp_path / "corpus.mbox"
    generate(Recipe(("10kb:5", "80kb:5", "150kb:5", "1kb:5"), seed=5, look="personal"), corpus)
    messages = list(read_mbox(corpus))
    with smtplib.LMTP("127.0.0.1", port) as client:
        for message in messages:
            assert client.sendmail("a@sender.example", ["tester"], message, ["BODY=8BITMIME"]) == {}
    # The server puts its own trace before a message and stores LF; the rest is the message, octet by octet.
    tails = {hash_of(message): message.replace(b"\r\n", b"\n") for message in messages}
    sizes = []
    for message in stored_in(maildir):
        match = [tail for tail in tails.values() if message.endswith(tail)]
        assert len(match) == 1
        sizes.append(len(match[0]) + match[0].count(b"\n"))
    assert sorted(sizes) == [1_000] * 5 + [10_000] * 5 + [80_000] * 5 + [150_000] * 5
