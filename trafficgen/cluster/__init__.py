"""One run by several hosts: one plan, one clock, one account.

Takes     a resolved plan, and an engine that can call a function of `host` on every host
Gives     `coordinator.Cluster.run`, which does what `runs.run.run` does
Promises  a shard is begun at most once; whatever becomes of it, its messages are in the account
Not here  what of the run is a shard's (plan.shard), adding results up (measure.merging)
"""
