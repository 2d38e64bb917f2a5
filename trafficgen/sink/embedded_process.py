"""The process of an embedded sink: takes mail until its pipe says that this is enough, and answers what it received.

Takes     over the pipe a run id (tell what has been received of it), or None (end)
Gives     over the pipe the address it listens on, then an answer for each run id
"""

import asyncio
from multiprocessing.connection import Connection

import uvloop

from trafficgen.host.limits import raise_open_files
from trafficgen.host.pipes import listen
from trafficgen.plan import TcpTarget
from trafficgen.proof.received import Received
from trafficgen.sink.listen.server import Sink


def main(pipe: Connection, address: TcpTarget, sessions: int, *, ledger: bool, share_port: bool) -> None:
    """The process from beginning to end."""
    raise_open_files(sessions)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe, address, ledger, share_port))


async def _serve(pipe: Connection, address: TcpTarget, ledger: bool, share_port: bool) -> None:
    over = asyncio.Event()
    async with Sink(address, ledger=ledger, share_port=share_port) as sink:

        def answer(run_id: object) -> None:
            if run_id is None:
                over.set()
            else:
                pipe.send((sink.received, sink.ledger.arrivals(str(run_id)) if sink.ledger else Received()))

        listen(pipe, answer, over.set)
        pipe.send(sink.address)
        await over.wait()
