"""Depth and age of a queue from the names in its spool: as Postfix's own tools say."""

import json
import smtplib
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import program
from tests.peers.postfix import Postfix, private_postfix
from trafficgen.server.spool import (
    BASE52,
    EximSpool,
    PostfixSpool,
    ages,
    arrival_of_exim_id,
    arrival_of_long_id,
    arrival_of_record,
)

MESSAGES = 40


def long_id(seconds: int, microseconds: int, inode: str = "1Ww3n") -> str:
    def digits(value: int, least: int) -> str:
        text = ""
        while value or len(text) < least:
            value, digit = divmod(value, 52)
            text = BASE52[digit] + text
        return text

    return f"{digits(seconds, 6)}{digits(microseconds, 4)}z{inode}"


def test_the_arrival_is_in_a_long_queue_id() -> None:
    # Recorded: inode 10471820 in a private Postfix, 2026-11-26 22:08:28.202261 UTC by its log.
    assert arrival_of_long_id("4jb9fh1Qndz1Ww3n") == 1795730908.202261


@given(st.integers(1_000_000_000, 2**33), st.integers(0, 999_999))
def test_any_arrival_comes_back_from_its_long_id(seconds: int, microseconds: int) -> None:
    assert arrival_of_long_id(long_id(seconds, microseconds)) == seconds + microseconds / 1e6


@given(st.text(max_size=30) | st.from_regex(r"[0-9A-F]{6,15}", fullmatch=True))
def test_other_names_have_no_arrival_or_some_number(name: str) -> None:
    found = arrival_of_long_id(name)
    assert found is None or "z" in name


def test_the_arrival_is_in_the_first_records_of_a_queue_file() -> None:
    head = b"C_            1162             660               1               0            1162               0"
    assert arrival_of_record(head + b"T\x111795729985 190775A") == 1795729985.190775
    assert arrival_of_record(b"C_ nothing else") is None
    assert arrival_of_record(b"") is None


def test_the_arrival_is_in_an_exim_id() -> None:
    # Recorded: Exim 4.96, 2026-11-27 03:04:26 UTC by its log.
    assert arrival_of_exim_id("1xWmGA-0001Iv-1W") == 1795748666
    assert arrival_of_exim_id("hdr.-x") is None


def test_exims_spool_is_counted_by_its_header_files(tmp_path: Path) -> None:
    for name in ("1xWmGA-0001Iv-1W-H", "1xWmGA-0001Iv-1W-D", "A/1xWmG5-0001Iv-1W-H"):
        path = tmp_path / "input" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    spool = EximSpool(tmp_path)
    spool.look()
    values = spool.values(1795748676.0)
    assert (values["queue.depth"], values["queue.oldest"]) == (2, 15.0)


def test_an_empty_queue_has_no_age_and_an_unknown_one_none() -> None:
    nothing = np.zeros(0)
    assert ages(nothing, 0, 5.0) == {"queue.oldest": 0.0, "queue.age_p50": 0.0, "queue.age_p99": 0.0}
    assert ages(nothing, 1, 5.0) == {}
    found = ages(np.arange(1.0, 101.0), 100, 100.0)
    assert found == {"queue.oldest": 99.0, "queue.age_p50": 50.0, "queue.age_p99": 99.0}


# -- a real Postfix -------------------------------------------------------------------------------------


def queued_by_postfix(postfix: Postfix) -> list[dict[str, object]]:
    command = [program("postqueue", "postfix"), "-c", str(postfix.folder / "config"), "-j"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def all_deferred(postfix: Postfix) -> bool:
    """While the queue moves, postqueue may list a message twice."""
    said = queued_by_postfix(postfix)
    return len({one["queue_id"] for one in said}) == len(said) == MESSAGES and all(
        one["queue_name"] == "deferred" for one in said
    )


@pytest.mark.parametrize("long_ids", ["yes", "no"])
def test_a_real_queue_is_as_deep_and_as_old_as_postfix_says(long_ids: str) -> None:
    settings = f"defer_transports = smtp relay\nenable_long_queue_ids = {long_ids}\nqueue_run_delay = 300s"
    with private_postfix(1, settings) as postfix:
        with smtplib.SMTP("127.0.0.1", postfix.port) as client:
            for number in range(MESSAGES):
                client.sendmail("s@out.test", ["u@relay.test"], f"Subject: {number}\r\n\r\nx\r\n")
        deadline = time.monotonic() + 60
        while not all_deferred(postfix):
            assert time.monotonic() < deadline
        spool = PostfixSpool(postfix.folder / "queue")
        for queue in ("maildrop", "incoming", "active", "deferred", "hold"):
            spool.look(queue)
        said = queued_by_postfix(postfix)
        now_s = time.time()
        values = spool.values(now_s)
        assert values["queue.deferred"] == values["queue.depth"] == len(said) == MESSAGES
        assert values["queue.active"] == values["queue.incoming"] == 0
        # postqueue gives whole seconds, of when a session began to write the file: a busy machine gives the file its
        # name, which has the other time, up to some seconds later.
        arrivals = sorted(int(str(one["arrival_time"])) for one in said)
        between = [ours - theirs for ours, theirs in zip(sorted(spool.arrivals().tolist()), arrivals, strict=True)]
        assert -0.01 <= min(between) <= max(between) < 5
        assert values["queue.oldest"] == pytest.approx(now_s - arrivals[0], abs=5)
        spool.look("deferred")  # nothing has changed
        assert spool.values(now_s) == values
