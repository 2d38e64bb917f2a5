"""The gate at work: builds brought up and down, runs made, the second channel read, trials kept.

    builds      a side's server: its address, and the commands that start and stop it
    usage       what the server's processes used (psutil, cgroup v2)
    counters    how often they called fsync, and their instructions (perf)
    trials      the file of trials, so that an interrupted gate goes on
    gate        all of it in turn, until the verdict

Not here  what is decided and when (verdict.gating); words (report.gated)
"""
