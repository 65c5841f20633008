"""Arrays in, arrays out, core axes last: no labels, no dask, no I/O, no global state."""
