"""Numbers: from one row a message to the results of a run.

    recorder    one worker's account: rows in, snapshots out
    histogram   latencies, mergeable, every percentile known to 0.1 %
    timeline    what happened in each second
    numbers     which messages were accepted, at one bit each
    snapshot    all of that at one moment, mergeable in any order
    health      whether the generator, not the server, was the limit
    results     one run for good: the versioned document that reports and verdicts are made from

Imports numpy and the base only; knows no socket, no plan of sending, no words for the screen.
"""
