"""How stores lie on disk and in buckets: places, chunks, groups, and what a crash leaves."""
