"""The same model and workload behind Lantern and behind what a user would pick instead, in one run.

Nothing here is imported by the servers but ``benchmarks.peers.servers``, which needs torch and transformers alone.
"""
