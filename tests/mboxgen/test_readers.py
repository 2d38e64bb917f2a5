"""Programs that people use read the same messages out of a corpus as we put in."""

import hashlib
import mailbox
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mboxgen import Recipe, generate, read_mbox
from mboxgen.recipe import Eol, Format

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


def test_mutt(mixed: Path, wanted: list[bytes], tmp_path: Path, program: Program) -> None:
    mutt = program("mutt")
    copy, target = tmp_path / "corpus.mbox", tmp_path / "copied"
    shutil.copy(mixed, copy)
    keys = f"<tag-pattern>~A<enter><tag-prefix><copy-message>{target}<enter><exit>"
    settings = [
        "set mbox_type=maildir", "set confirmcreate=no", "set confirmappend=no", "set delete=no", "set quit=yes",
        "set mail_check=0", "set sort=mailbox-order", "unset mark_old", "set wait_key=no", f"push '{keys}'",
    ]  # fmt: skip
    command = [mutt, "-n", "-F", "/dev/null", "-f", str(copy)]
    for setting in settings:
        command += ["-e", setting]
    environment = {**os.environ, "TERM": "xterm", "HOME": str(tmp_path)}
    script = program("script")
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
    subprocess.run(
        [script, "-qec", quoted, "/dev/null"], env=environment, stdin=subprocess.DEVNULL, timeout=60,
        stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    files = [file for folder in ("cur", "new") for file in (target / folder).iterdir()]
    found = [without(file.read_bytes(), (b"Status:", b"Content-Length:", b"Lines:")) for file in files]
    assert same(found, [without(message, (b"Content-Length:", b"Lines:")) for message in wanted])


def without(message: bytes, names: tuple[bytes, ...]) -> bytes:
    """Take out the header fields that a mail reader adds."""
    header, _, body = message.partition(b"\n\n")
    return b"\n".join(line for line in header.split(b"\n") if not line.startswith(names)) + b"\n\n" + body


@pytest.fixture
def dovecot(tmp_path: Path, program: Program) -> Path:
    """A private Dovecot configuration for one user, with nothing running."""
    program("doveadm")
    folder = tmp_path / "dovecot"
    (folder / "mail").mkdir(parents=True)
    user, group = os.getuid(), os.getgid()
    configuration = folder / "dovecot.conf"
    configuration.write_text(
        f"base_dir = {folder}/run\nlog_path = {folder}/log\nssl = no\nmail_location = maildir:{folder}/mail\n"
        f"first_valid_uid = 0\nfirst_valid_gid = 0\nmail_uid = {user}\nmail_gid = {group}\n"
        f"mail_home = {folder}/home\nuserdb {{\n  driver = static\n  args = uid={user} gid={group} home={folder}/home\n}}\n"
        f"service stats {{\n  unix_listener stats-writer {{\n    mode = 0600\n  }}\n}}\nprotocols =\n"
    )
    return configuration


@pytest.mark.parametrize("eol", [Eol.LF, Eol.CRLF])
def test_dovecot_import(tmp_path: Path, dovecot: Path, program: Program, eol: Eol) -> None:
    corpus = tmp_path / "corpus.mbox"
    generate(Recipe(("uniform:700-40000",), count=300, seed=5, look="corporate", eol=eol), corpus)
    corpus.chmod(0o444)
    before = corpus.read_bytes()
    empty = tmp_path / "empty"
    empty.mkdir()
    source = f"mbox:{empty}:INBOX={corpus}:INDEX=MEMORY"
    subprocess.run(
        [program("doveadm"), "-c", str(dovecot), "-o", "stats_writer_socket_path=", "import", "-u", "tester", source, "", "ALL"],
        check=True, timeout=60, capture_output=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    folders = [tmp_path / "dovecot" / "mail" / name for name in ("cur", "new")]
    found = [file.read_bytes() for folder in folders for file in folder.iterdir()]
    assert same(found, [message.replace(b"\r\n", b"\n") for message in read_mbox(corpus)])
    assert corpus.read_bytes() == before


def test_a_maildir_of_ours_is_a_maildir(tmp_path: Path) -> None:
    generate(Recipe(("5kb",), count=20, seed=5, format=Format.MAILDIR), tmp_path / "box")
    box = mailbox.Maildir(tmp_path / "box", create=False)
    assert sorted(len(box.get_bytes(key)) for key in box.keys()) == sorted(  # noqa: SIM118  (a mailbox is no mapping)
        file.stat().st_size for file in (tmp_path / "box" / "new").iterdir()
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def lmtp(tmp_path: Path, dovecot: Path, program: Program) -> Iterator[int]:
    """A private Dovecot that takes LMTP on a port of the loopback; stopped by its own process."""
    if os.getuid() != 0:
        pytest.skip("Dovecot's master process wants to be root")
    port, folder = free_port(), dovecot.parent
    program("lmtp")
    shutil.copy(dovecot, folder / "lmtp.conf")
    with (folder / "lmtp.conf").open("a") as file:
        file.write(
            "protocols = lmtp\npassdb {\n  driver = static\n  args = nopassword=y\n}\n"
            "default_internal_user = root\ndefault_login_user = nobody\ndefault_internal_group = root\n"
            f"service lmtp {{\n  chroot =\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {port}\n  }}\n}}\n"
            "service anvil {\n  chroot =\n}\nprotocol lmtp {\n  mail_plugins =\n}\n"
        )
    process = subprocess.Popen([program("dovecot"), "-F", "-c", str(folder / "lmtp.conf")], stderr=subprocess.PIPE)
    try:
        wait_until_open(port, process)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=20)


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "dovecot ended at once"
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail("dovecot did not open its port")


def test_what_an_lmtp_server_stores_has_the_planned_size(tmp_path: Path, lmtp: int) -> None:
    import smtplib

    corpus = tmp_path / "corpus.mbox"
    generate(Recipe(("10kb:5", "80kb:5", "150kb:5", "1kb:5"), seed=5, look="personal"), corpus)
    messages = list(read_mbox(corpus))
    with smtplib.LMTP("127.0.0.1", lmtp) as client:
        for message in messages:
            assert client.sendmail("a@sender.example", ["tester"], message, ["BODY=8BITMIME"]) == {}
    mail = tmp_path / "dovecot" / "mail"
    stored = [file.read_bytes() for name in ("cur", "new") for file in (mail / name).iterdir()]
    # The server puts its own trace before a message and stores LF; the rest is the message, octet by octet.
    tails = {hash_of(message): message.replace(b"\r\n", b"\n") for message in messages}
    sizes = []
    for message in stored:
        match = [tail for tail in tails.values() if message.endswith(tail)]
        assert len(match) == 1
        sizes.append(len(match[0]) + match[0].count(b"\n"))
    assert sorted(sizes) == [1_000] * 5 + [10_000] * 5 + [80_000] * 5 + [150_000] * 5
