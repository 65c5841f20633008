"""How stores lie on disk and in buckets: backends, chunks, groups, and what a crash leaves."""
