"""Where labels meet arrays: dims, chunks, blocks, pairs of inputs, draws, resources."""
