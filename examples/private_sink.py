"""Keep the sink in your own hands: start it, send to it, ask it what arrived.

python examples/private_sink.py
"""

from trafficgen import Plan, run
from trafficgen.sink.embedded import EmbeddedSink

RUN_ID = "00000000deadbeef"


def main() -> None:
    """Between `run` and the sink there could be a server under test that relays to `sink.address`."""
    with EmbeddedSink(sessions=10) as sink:
        results = run(Plan(target=sink.address, max_messages=500, sessions=10, run_id=RUN_ID))
        arrivals = sink.arrivals(RUN_ID)
    print(f"{results.messages.accepted} accepted, {arrivals.messages} arrived, {len(arrivals.damaged)} damaged")


if __name__ == "__main__":
    main()
