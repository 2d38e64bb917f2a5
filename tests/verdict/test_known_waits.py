"""What a server is known to do to its clients, and which number shows it. Bounds are those of arithmetic, or wide."""

import subprocess
import sys

from tests.sink.sink_process import sink_process
from trafficgen import run
from trafficgen.plan import OpenLoop, Plan, TcpTarget

MS = 1_000_000


def test_a_wait_after_the_end_of_data_is_read_there() -> None:
    with sink_process("127.0.0.1:0", "--delay", "dot:50ms") as sink:
        target = TcpTarget("127.0.0.1", sink.port)
        results = run(Plan(target=target, sessions=10, max_messages=40, load=OpenLoop(rate_per_s=80.0), workers=1))
    end_of_data, envelope = results.latency_ns["end_of_data"], results.latency_ns["envelope"]
    assert end_of_data is not None
    assert envelope is not None
    assert end_of_data.count == 40
    assert end_of_data.min >= 49 * MS  # the sink's timer may fire a millisecond early
    assert envelope.min < 49 * MS  # a busy machine may add to any, and the wait would be in all


def test_a_stall_shows_in_response_time_and_not_in_service_time() -> None:
    # 200 messages in 2 s; for 1 s of them nothing is answered. The messages due meanwhile wait 0 to 1 s, so a quarter
    # of all 200 wait half a second or more, but only the four that were at work when it began are slow themselves.
    command = [sys.executable, "-m", "tests.gate.slow_server", "0", "1", "1000", "500"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with server:
        try:
            target = TcpTarget("127.0.0.1", int(server.stdout.readline()))
            plan = Plan(target=target, sessions=4, max_messages=200, load=OpenLoop(rate_per_s=100.0), workers=1)
            latency = run(plan).latency_ns
        finally:
            server.terminate()
    response, service, lateness = latency["response"], latency["service"], latency["lateness"]
    assert response is not None
    assert service is not None
    assert lateness is not None
    assert response.count == service.count == 200
    assert response.p75 >= 450 * MS
    assert lateness.p75 >= 400 * MS
    assert service.p75 < response.p75 / 2
    assert service.max >= 950 * MS
