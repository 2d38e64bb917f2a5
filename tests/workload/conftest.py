"""Plans of one line, and the messages they make."""

from zlib import crc32

import pytest

from trafficgen.plan import Plan, Workload
from trafficgen.proof import trace_header
from trafficgen.protocol.smtp.layout import BY_DATA
from trafficgen.workload import Messages

DATE = "Fri, 21 Nov 2025 22:55:00 +0000"
RUN_ID = "9f3a6c1e02b4d857"


@pytest.fixture(scope="session")
def messages_of():
    """Build `Messages` from workload fields; `seed` and `run_id` are the plan's."""

    def build(seed=1, run_id=RUN_ID, **workload):
        return Messages(
            Plan(max_messages=1, seed=seed, run_id=run_id, workload=Workload(**workload)), date=DATE, layout=BY_DATA
        )

    return build


@pytest.fixture(scope="session")
def delivered():
    """What a server stores: dots unstuffed, without the end of data. Asserts that the wire form is sound."""

    def unstuff(message):
        wire = message.head + bytes(message.body) + message.tail
        assert wire.endswith(b"\r\n.\r\n")
        lines = wire.removesuffix(b".\r\n").split(b"\r\n")
        assert not any(b"\r" in line or b"\n" in line for line in lines)
        assert b"." not in lines
        stored = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
        assert len(stored) == message.octets
        head, _, body = stored.partition(b"\r\n\r\n")
        value = head.split(b"\r\n")[0].removeprefix(trace_header.HEADER)
        assert trace_header.parse(value) is not None
        assert trace_header.parse(value)[1:] == (message.number, crc32(body))
        assert message.eight_bit is not stored.isascii()
        return stored

    return unstuff
