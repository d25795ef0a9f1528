"""embedlake beside Daft, raw Ray Data and a plain script on the same work. `python -m tests.benchmarks.peers`."""
