"""The commands of a page, run as they stand there, in the order in which a reader comes to them.

Takes     Markdown with fenced blocks: `sh` and `python` are run, `output` is held against what the block before it said
Gives     nothing; an assertion fails where a command does not end as the page says, or says something else
Not here  which pages there are (test_pages)

What the page does not show to readers stands in comments of its own:

    <!-- tested with
    2526: a free port
    10.0.0.7: a sink --lmtp
    5m: 1s
    -->                          once a page: what stands for what while its commands are tested; STAND_INS says what
                                 there is, and anything else is put there as it is
    <!-- not run: reason -->     before a block that nobody can run here
    <!-- ends with 99 -->        before a block that does not end with 0; `99 or 120` where it is not ours to say
    <!-- goes on: words -->      before a block that goes on behind those that follow, ready as soon as it says so; it
                                 is ended with Ctrl-C when all else is done, and ends with 0
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.dovecot import running as private_dovecot
from tests.peers.ports import free_port
from tests.peers.postfix import private_postfix
from tests.sink.sink_process import sink_process

RUN, SHOWN = ("sh", "python"), ("output", "text", "toml", "json", "yaml", "csv", "ini")
_BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^( *)```([^\n]*)\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)
_TESTED_WITH = re.compile(r"^<!-- tested with\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
_PATIENCE_S = 150


@dataclass(frozen=True)
class Block:
    """One fenced block, with what the comments before it say."""

    kind: str
    text: str
    not_run: str | None
    codes: frozenset[int]
    goes_on: str | None


def blocks(page: str) -> list[Block]:
    """All of a page, in its order."""
    return [_block(*found) for found in _BLOCK.findall(page)]


def _block(comments: str, indent: str, kind: str, text: str) -> Block:
    said = dict(re.findall(r"^<!-- (not run|ends with|goes on):? (.*) -->$", comments, re.MULTILINE))
    plain = re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
    codes = frozenset(int(code) for code in re.findall(r"\d+", said.get("ends with", "0")))
    return Block(kind, plain, said.get("not run"), codes, said.get("goes on"))


def _a_sink(stack: ExitStack, options: str) -> str:
    return stack.enter_context(sink_process("127.0.0.1:0", *options.split())).address


def _a_postfix(stack: ExitStack, relays_to: str) -> str:
    return f"127.0.0.1:{stack.enter_context(private_postfix(int(relays_to))).port}"


def _a_dovecot(stack: ExitStack, _: str) -> str:
    server = stack.enter_context(private_dovecot())
    return f"--imap 127.0.0.1:{server.imap} --pop3 127.0.0.1:{server.pop3} --lmtp 127.0.0.1:{server.lmtp}"


STAND_INS: dict[str, Callable[[ExitStack, str], str]] = {
    "a free port": lambda _stack, _words: str(free_port()),
    "a sink": _a_sink,  # and its options
    "a Postfix that relays to": _a_postfix,  # this port
    "a Dovecot": _a_dovecot,  # as the options that name its ports
}


def _stand_ins(page: str, stack: ExitStack) -> dict[str, str]:
    found = _TESTED_WITH.search(page)
    standing: dict[str, str] = {}
    for line in found[1].splitlines() if found else ():
        written, _, meant = line.partition(": ")
        kind = next((kind for kind in STAND_INS if meant.startswith(kind)), None)
        words = _replaced(meant.removeprefix(kind or "").strip(), standing)
        standing[written] = STAND_INS[kind](stack, words) if kind else words
    return standing


def _replaced(text: str, standing: dict[str, str]) -> str:
    if not standing:
        return text
    longest_first = sorted(standing, key=len, reverse=True)
    pattern = rf"(?<![\w.])(?:{'|'.join(map(re.escape, longest_first))})(?![\w.])"
    return re.sub(pattern, lambda found: standing[found[0]], text)


@contextmanager
def _going_on(command: list[str], words: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if words in line:
                    break
            assert said, command
            assert words in said[-1], said
            yield
            os.killpg(process.pid, signal.SIGINT)
            said.append(process.stdout.read())
            assert process.wait(_PATIENCE_S) == 0, (command, said)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def run_page(page: str, folder: Path) -> int:
    """How many blocks were run, each in `folder`, where `traffic-gen`, `mboxgen` and `python` are those under test."""
    environment = _environment(folder)
    said, count = "", 0
    with ExitStack() as stack:
        standing = _stand_ins(page, stack)
        for block in blocks(page):
            if block.kind == "output":
                _assert_shown(block.text, said)
            if block.kind not in RUN or block.not_run:
                continue
            text = _replaced(block.text, standing)
            command = ["bash", "-euo", "pipefail", "-c", text] if block.kind == "sh" else [sys.executable, "-c", text]
            count += 1
            if block.goes_on:
                stack.enter_context(_going_on(command, block.goes_on, folder, environment))
                continue
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=_PATIENCE_S, check=False,
            )  # fmt: skip
            said = done.stdout
            assert done.returncode in block.codes, f"{text}\nended with {done.returncode}:\n{said}"
            assert "Traceback" not in said, f"{text}\n{said}"
    return count


def _environment(folder: Path) -> dict[str, str]:
    programs = folder / ".programs"
    programs.mkdir()
    for name, module in (("traffic-gen", "-m trafficgen"), ("mboxgen", "-m mboxgen"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAFFIC_GEN_")}
    root = str(Path(__file__).parents[2])
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin", "PYTHONPATH": root, "CHECKOUT": root,
        "HOME": str(folder), "XDG_STATE_HOME": str(folder), "COLUMNS": "200", "TRAFFIC_GEN_WORKERS": "1",
    }  # fmt: skip


def _assert_shown(expected: str, said: str) -> None:
    """Each line of the page is one of what was said, by its first column, without numbers and units of time."""
    columns = {_first_column(line) for line in said.splitlines()}
    missing = [line for line in expected.splitlines() if line.strip(" …") and _first_column(line) not in columns]
    assert not missing, f"the page shows {missing}, and the command said\n{said}"


def _first_column(line: str) -> str:
    column = re.split(r"\s{2,}", line.strip())[0]
    return re.sub(r"\d[\d.,:]*", "0", re.sub(r", (ns|µs|ms|s)$", "", column))
