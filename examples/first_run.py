"""Send 2,000 messages to a sink in a process of its own, and prove that every one of them arrived.

python examples/first_run.py
"""

from trafficgen import Plan, SizedBodies, WeightedDomain, Workload, run


def main() -> None:
    """Three quarters to gmail.com, one quarter to yahoo.com; bodies of 10 kB and, more rarely, of 80 kB."""
    workload = Workload(
        domains=(WeightedDomain("gmail.com", 3.0), WeightedDomain("yahoo.com", 1.0)),
        content=SizedBodies(("10kb:9", "80kb:1")),
    )
    results = run(Plan(max_messages=2_000, sessions=20, workload=workload, seed=1), notice=print)

    print(f"{results.messages.accepted} accepted at {results.rate.messages_per_s:.0f}/s")
    if (service := results.latency_ns["service"]) is not None:
        print(f"half of them within {service.p50 / 1e6:.2f} ms, 99 of 100 within {service.p99 / 1e6:.2f} ms")
    if (ledger := results.ledger) is not None:
        print(f"{ledger.missing} missing, {ledger.duplicated} duplicated, {ledger.corrupted} corrupted")


if __name__ == "__main__":  # workers are processes that import this file: without this line each would start a run
    main()
