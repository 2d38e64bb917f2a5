"""Find out how a server does while the load grows: an open-model ramp, second by second.

python examples/ramp.py [HOST:PORT]
"""

import sys

from trafficgen import Arrivals, OpenLoop, Plan, Stage, parse_target, run

SECOND = 1_000_000_000


def main(target: str | None) -> None:
    """From nothing to 400 messages a second in two seconds, one more at that rate. Messages come at random.

    They start when they are due, whether or not the server keeps up, so the time that they wait shows in the latency.
    """
    load = OpenLoop(0.0, (Stage(2 * SECOND, 400.0), Stage(1 * SECOND, 400.0)), Arrivals.POISSON)
    plan = Plan(
        target=parse_target(target) if target else None,
        sessions=50,
        duration_ns=load.stages_duration_ns,
        load=load,
        keep_going=True,
        seed=1,
    )
    results = run(plan)
    print(f"{results.messages.accepted} of {results.messages.planned} planned messages accepted")
    for interval in results.timeline:
        print(interval)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
