"""Runs a plan. Knows ports only: no adapter, no driver, no YAML.

run            the steps, on one screen
preflight      both ends looked at, everything decided, nothing changed
prepare        the lease, then each stream's target; increments: bounds
loading        rounds of fan-out and publish
jobs           partitions -> jobs
pool           jobs onto an Executor; the lowest failure wins; tuner: one more worker
worker         one partition: read, hand over, write, receipt
handoff        a queue that is bounded in bytes; transforming: what happens behind it
stopping       a signal, a deadline, a lost lease
failures       failures as they are told; fencing: another run's doing; volatile: rows that differ each time
outcome        what happened, as the steps hand it on
figures        what happened -> the result (pure): stream_figures, worker_figures, shares, verdict
comparing      `verify`, stream by stream; verify: one stream; verification: its values
"""
