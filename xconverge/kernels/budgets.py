"""Every byte budget, in one table: what is held or formed at a time, and why that much.

Blocks that are formed and used again at once are of the size of a cache; what a task holds is a
share of a worker's memory. None of them changes a number, only how many pieces make it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Budgets:
    """Bytes. Tests set some of them to next to nothing, to have many blocks of little data."""

    # --- formed and used at once: a few of them fit into a processor's cache
    cache_block: int = 2**22
    """A block of rows of a matrix that is worked on in place, on every core."""
    gather_block: int = 2**20
    """Permuted entries of a matrix, or RDMs of neighbourhoods, used before they leave the cache."""
    product_block: int = 2**25
    """A block of a product, distances or similarities, of all models together."""

    whole_product: int = 2**27
    """All similarities of one model in single precision: made at once, half of them are enough."""

    # --- held by one task
    small_task: int = 2**28
    """What a task may take before anybody asks how much memory this machine has."""
    any_worker: int = 2**24
    """The same on a cluster: a worker that has not even this cannot run Python."""
    whole_model: int = 2**24
    """A lazy model of up to this size is one task; a longer one is read block by block."""
    all_models: int = 2**28
    """Chunks of all models for a block of stimuli up to this size are one task."""
    many_models: int = 2**28
    """Models of up to this size together are one task where all of them are compared."""
    tile: int = 2**29
    """A task over some models of either side: rows that ask, a block of each, their distances."""
    targets: int = 2**27
    """Permuted targets of a regression that are predicted at a time."""
    products: int = 2**28
    """Products of a source with several targets, by fold."""
    loaded_space: int = 2**30
    """A lazy set of up to this size, in double, is loaded for its shared space."""

    # --- read from a source
    read_block: int = 2**24
    """Rows of a model that are read at a time, or one chunk where that is larger."""
    query_block: int = 2**26
    """The largest block whose rows ask all others for their neighbours or distances."""
    apply_chunk: int = 2**27
    """A chunk that is mapped over, where its core dims had to be joined."""
    store_chunk: int = 12 * 2**20
    """A chunk of our stores: 3 MiB reads slower, 12 and 24 alike, and 12 takes less memory."""
    text_block: int = 2**26
    """Rows of a table of numbers that are parsed at a time."""

    # --- kept for later
    kept_draws: int = 2**27
    """Random weights of stimuli that the tests of all maps of a study share."""
    search_cache: int = 2**29
    """Distances that a local search over stimuli keeps."""
    least_table: int = 2**20
    """Entries of a hash table of edges, at least; more make fewer collisions."""


BUDGETS = Budgets()
