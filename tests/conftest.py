"""What tests of several rooms share: a certificate, and servers that must be there when it counts."""

import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.peers.certificates import Certificate, make_certificate

# Programs that the tests start inherit what nohup or a shell's & has set to be ignored, and some tests send these.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

# A machine that is busy with something else is slow, not wrong.
settings.register_profile("no deadlines", deadline=None, print_blob=True)
settings.register_profile("few examples", deadline=None, max_examples=10)  # to see which lines run at all
settings.load_profile("no deadlines")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for localhost and 127.0.0.1 that nobody trusts."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def program(name: str, package: str) -> str:
    """The path of an installed program. Where CI runs, a missing one fails the test; elsewhere it skips it."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found is None:
        words = f"{name} is not installed (Debian package {package})"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return str(Path(found))


@pytest.fixture
def several_addresses(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name with four addresses, of which only the last is one that servers here listen on: 127.0.0.1."""
    name, look_up = "several.test", socket.getaddrinfo

    def several(host: str, *rest: Any, **more: Any) -> list[Any]:
        if host != name:
            return look_up(host, *rest, **more)
        return [found for number in (4, 3, 2, 1) for found in look_up(f"127.0.0.{number}", *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    return name
