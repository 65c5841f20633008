"""Alignment of the stimuli of lowest and highest dispersion against random and matched ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.families import family_mean
from xconverge.engine.pair import Pair, pairing_attrs, refuse_repeats
from xconverge.engine.resampling import strata_of
from xconverge.inference.nulls import Geometry, Null, null_of
from xconverge.kernels import subsets as kernels
from xconverge.kernels.correlation import ranks
from xconverge.kernels.crossed import contrast_influence, crossed
from xconverge.kernels.nulls import all_orders, orders_of
from xconverge.kernels.permutations import as_extreme, corrected
from xconverge.kernels.ranks import empty_bins, quantile_bins
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import real, several, whole
from xconverge.labels.checks import check_only
from xconverge.labels.families import Families, families
from xconverge.labels.joins import join_labels, natural_rank
from xconverge.labels.variables import describe, described
from xconverge.measures.alignment import alignment
from xconverge.study.bins import tell_merged
from xconverge.study.subset_scores import chances_inside, scores_inside

ENDS = ("low", "high")
POOLS = ("full", "inside")


def subset_contrast(
    dispersion: xr.DataArray,
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    size: int = 100,
    n_random: int = 1000,
    match: xr.DataArray | Sequence[xr.DataArray] = (),
    groups: str | xr.DataArray | None = None,
    match_bins: int = 5,
    geometry: Geometry = (),
    blocks: str | xr.DataArray | None = None,
    null: str | None = None,
    k: int = 10,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Do the stimuli of low dispersion align better than others, those of high dispersion worse?

    Parameters
    ----------
    dispersion : DataArray
        (stimulus).
    a, b : DataArray
        (model, stimulus, feature): the modalities whose mutual-kNN alignment is compared.
    size : int
        Stimuli of each subset.
    n_random : int
        Subsets of the same size, of each control.
    match : DataArray or sequence of DataArray
        Values (stimulus), ``stimulus_norm`` and ``local_density`` say: matched subsets have as
        many stimuli in every quantile bin of them (and in every combination) as the subset that
        they are compared with.
    groups : str or DataArray, optional
        A stimulus coordinate (category …) or values (stimulus), matched exactly, and known to the
        mixed model behind surrogates.
    match_bins : int
        Quantile bins of each of ``match``.
    geometry : DataArray or sequence of DataArray
        As in ``modulation``; ``a`` and ``b`` are always among them.
    blocks
        As in ``modulation``.
    null : {"surrogates", "blocks", "labels"}, optional
        What subsets are compared with beside random ones: by default those of maps that are drawn
        from the mixed model of dispersion, or of blocks that change places where ``blocks`` are
        given. ``"labels"``: random ones alone, which hold only for exchangeable stimuli.
    k : int
        Neighbours.
    level : float
        Share of drawn subsets between ``random_lower`` and ``random_upper``, and coverage asked of
        the interval of ``low_minus_high``.
    rng : Generator, int or None
        Source of the subsets, which follow labels.

    Returns
    -------
    Dataset
        In memory, over ``subset`` (low, high) and ``pool``: neighbours searched among all stimuli
        (full), or among those of the subset alone (inside). ``score``, the mean over stimuli and
        model pairs, layers of one network counted once; ``chance`` (subset, pool), the same mean of
        k / (n - 1), n the stimuli of the pool that both models of a pair saw; ``corrected``,
        (score - chance) / (1 - chance).
        Over ``control`` (random; matched with ``match`` or ``groups``; surrogates or blocks):
        ``random_mean``, ``random_lower``, ``random_upper``; ``p_value_greater`` and
        ``p_value_less``, (1 + #{random as extreme}) / (1 + n_random), for each end apart, and the
        two-sided ``p_value``, twice the smaller. ``low_minus_high`` (pool) and its two-sided
        p-value (control, pool) against pairs of subsets without overlap, in the full pool by its
        Welch t; its ``_standard_error``, ``_lower`` and ``_upper`` (pool) for other stimuli and
        other models of both sides, of the full pool alone. ``n_effective``, ``moran_i`` and
        ``dispersion_moran_i`` as in ``modulation``. Where models miss stimuli, chance differs
        between subsets: what p-values compare is the score less its chance.

    Warns
    -----
    RuntimeWarning
        Fewer than twice ``size`` stimuli have a dispersion and a score, or all dispersions are
        equal: all NaN. Values to match that make fewer bins (``dispersion_bins``). ``size`` not
        above k, or subsets of which no pair of models saw more than k stimuli: NaN inside. Stimuli
        of a subset that are all of their cell: nothing is matched with them; NaN where that is all
        of them.

    Raises
    ------
    SchemaError, ValueError
        Labels that do not match; faulty rows.

    Notes
    -----
    Null: which stimuli are in the subset has nothing to do with alignment; matched: given the
    cells, which makes drawing inside cells a stratified permutation of membership. Both take
    stimuli for exchangeable, which they are not where neighbours are alike: trust the p-values of
    surrogates. The effect may sit at one end alone: read both. Of equal dispersions the natural
    order of labels decides. Inside a subset the chance level is higher and neighbours are farther:
    compare scores inside with the drawn ones inside. Computes its inputs; inside searches
    neighbours of every model again in every subset.

    Hosseini, Cheung, Fedorenko & Williams (arXiv 2604.21836) compare 100 of each inside.

    Examples
    --------
    >>> from xconverge import dispersion
    >>> from xconverge.testing import planted_study
    >>> study = planted_study(n_models=3, rng=0)
    >>> spread = dispersion(study["vision"], "neighborhood")
    >>> table = subset_contrast(spread, study["vision"], study["language"], size=30, n_random=19,
    ...     rng=0)
    >>> bool(table["score"].sel(subset="low", pool="full") > table["score"].sel(subset="high",
    ...     pool="full"))
    True
    """
    refuse_repeats("subset_contrast", dispersion, a, b)
    whole("size", size, 1)
    whole("n_random", n_random, 1)
    whole("match_bins", match_bins, 1)
    real("level", level, above=0, below=1)
    pair = Pair(a, b, rng)
    spread = check_only(dispersion, "stimulus", what="dispersion")
    _, spread, _ = join_labels(pair.a, spread, "stimulus", "exact", ("a", "dispersion"))
    cells = _cells(match, groups, match_bins, pair.a, pair.b)
    chosen = null_of(
        null, (pair.a, pair.b), usual="surrogates",
        geometry=[pair.a, pair.b, *several("geometry", geometry)],
        groups=() if groups is None else groups, blocks=blocks,
    )  # fmt: skip
    rank = natural_rank(spread.indexes["stimulus"])
    pairs = ["model_a", "model_b"]
    of = {side: families(reps) for side, reps in zip(pairs, (pair.a, pair.b), strict=True)}
    scores = alignment(pair.a, pair.b, k=k)
    # of each stimulus the pairs that saw it, and the level of these pairs
    each, by_chance = (
        family_mean(one, pairs, of).transpose("stimulus").values
        for one in (scores, scores["chance"].where(scores.notnull()))
    )
    values = np.where(np.isnan(each), np.nan, spread.values.astype(np.float64))
    usable = np.isfinite(values)
    enough = usable.sum() >= 2 * size
    if not enough:
        _warn(
            f"two subsets of {size} need at least {2 * size} stimuli with a dispersion and a "
            f"score, there are {usable.sum()}: NaN; ask for a smaller size"
        )
    elif len(np.unique(ranks(values[usable]))) == 1:
        _warn("all dispersions are equal: there is no low or high subset, NaN")
        usable[:] = False
    elif size <= k:
        _warn(f"neighbours inside a subset need a size above k={k}, got {size}: NaN inside")
    # three streams: random pairs, controls of the low subset, controls of the high one
    seeds = np.random.default_rng(pair.seed).integers(2**63, size=4)
    given = np.where(usable, values, np.nan)
    controls = _controls(given, rank, size, n_random, seeds, cells)
    if chosen.name != "labels":
        controls[chosen.name] = _dealt(spread.copy(data=given), rank, size, n_random, seeds, chosen)
    errors = np.full((len(controls), 2, n_random + 1), np.nan)
    table, chances = np.full((2, len(controls), 2, 2, n_random + 1), np.nan)
    full, full_chance = (np.where(usable, one, 0.0) for one in (each, by_chance))
    for i, ends in enumerate(controls.values()):
        for e, members in enumerate(ends):
            if members is None:
                continue
            table[i, e, 0], chances[i, e, 0] = members @ full / size, members @ full_chance / size
            excess = full - full_chance
            errors[i, e] = kernels.squared_errors(members, excess, size)
            if size > k:
                inside, level_inside = (
                    family_mean(one(pair.a, pair.b, members, k), pairs, of)
                    .transpose("subset")
                    .values
                    for one in (scores_inside, chances_inside)
                )
                table[i, e, 1, : len(inside)] = inside
                chances[i, e, 1] = level_inside
    if size > k and (np.isnan(chances[:, :, 1]) & ~np.isnan(chances[:, :, 0])).any():
        _warn(
            f"neighbours inside a subset need more than k={k} stimuli that both models of a pair "
            "saw, and of some subsets no pair saw as many: NaN there; ask for a larger size"
        )
    parameters = {
        "metric": "mutual_knn", "k": k, "size": size, "n_random": n_random,
        "match_bins": match_bins if "matched" in controls else None,
        "dispersion_metric": dispersion.attrs.get("metric"), "level": level, "seed": pair.seed,
        **chosen.attrs, **pairing_attrs(a, b, dispersion),
    }  # fmt: skip
    result = _described(table, chances, errors, list(controls), level, parameters)
    # one number each, whose place in the result is no coordinate's
    told = {
        name: part.reset_coords(drop=True)
        for name, part in chosen.told(spread, spread.copy(data=each)).items()
    }
    interval = _ends(scores, given, rank, size, float(told["n_effective"]), of, level)
    return result.assign(told).assign(
        {name: describe(part, name, **parameters) for name, part in interval.items()}
    )


def _ends(
    scores: xr.DataArray,
    given: Array,
    rank: Array,
    size: int,
    n_effective: float,
    of: Mapping[str, Families],
    level: float,
) -> dict[str, xr.DataArray]:
    """Error and ends (pool) of low_minus_high over stimuli and models; NaN inside."""
    found = np.full((3, len(POOLS)), np.nan)
    usable = np.isfinite(given).sum()
    if usable >= 2 * size:
        low, high = (
            np.isin(np.arange(len(given)), end) for end in kernels.extremes(given, rank, size)
        )
        values = scores.transpose(*of, "stimulus").values
        added = contrast_influence(values, low, high)
        # a pair scores the stimuli that both of its models saw
        ends = [np.ma.masked_invalid(values[..., end]).mean(-1) for end in (low, high)]
        gap = np.ma.filled(ends[0] - ends[1], np.nan)
        # both ends together are worth their share of what all stimuli are
        worth = 2 * size * (1.0 if np.isnan(n_effective) else n_effective / usable)
        of_a, of_b = (one.numbers for one in of.values())
        told = crossed(gap, added, worth, of_a, of_b, level)
        found[:, 0] = told.error, told.lower, told.upper
    names = ("standard_error", "lower", "upper")
    return {
        f"low_minus_high_{name}": xr.DataArray(row, dims="pool")
        for name, row in zip(names, found, strict=True)
    }


def _dealt(
    spread: xr.DataArray, rank: Array, size: int, n_random: int, seeds: Array, null: Null
) -> list[Array | None]:
    """Memberships (1 + n_random, n) for low and high of dispersion dealt anew by a null."""
    usable = np.isfinite(spread.values)
    if usable.sum() < 2 * size:
        return [None, None]
    arrays, _ = null.dealing(spread)
    orders = orders_of(null.name, int(seeds[3]), *(one.values for one in arrays))
    if orders is None:
        return [None, None]
    drawn = all_orders(orders, spread.values, usable, n_random)
    ends = kernels.extremes(spread.values, rank, size)
    # a draw puts the values of a subset elsewhere, and the subset goes with them
    return [np.isin(drawn, end) for end in ends]


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _cells(
    match: xr.DataArray | Sequence[xr.DataArray],
    groups: str | xr.DataArray | None,
    match_bins: int,
    a: xr.DataArray,
    b: xr.DataArray,
) -> Array | None:
    """Number (n) of the cell of every stimulus; None where nothing is matched."""
    codes = []
    for number, one in enumerate(several("match", match)):
        what = f"match {getattr(one, 'name', None) or number}"
        one = check_only(one, "stimulus", what=what)
        _, one, _ = join_labels(a, one, "stimulus", "exact", ("a", what))
        bins, _ = quantile_bins(one.values.astype(np.float64), match_bins)
        tell_merged(empty_bins(bins, match_bins), match_bins, what)
        codes.append(bins)
    numbers = strata_of(groups, (a, b), "groups")
    if numbers is not None:
        codes.append(numbers.values)
    return kernels.crossed(np.stack(codes)) if codes else None


def _controls(
    values: Array, rank: Array, size: int, n_random: int, seeds: Array, cells: Array | None
) -> dict[str, list[Array | None]]:
    """Memberships (1 + n_random, n) for low and high, the subset itself first."""
    usable = np.isfinite(values)
    if usable.sum() < 2 * size:
        return {"random": [None, None], **({"matched": [None, None]} if cells is not None else {})}
    ends = kernels.extremes(values, rank, size)
    own = [np.isin(np.arange(len(values)), end)[None] for end in ends]
    drawn = kernels.disjoint_pairs(usable, rank, size, n_random, int(seeds[0]))
    controls: dict[str, list[Array | None]] = {
        "random": [np.concatenate(pair) for pair in zip(own, drawn, strict=True)]
    }
    if cells is not None:
        cells = np.where(usable, cells, -1)
        controls["matched"] = []
        for name, mine, end, seed in zip(ENDS, own, ends, seeds[1:3], strict=True):
            unmatched = int((cells[end] < 0).sum())
            alike, fixed = kernels.matched(end, cells, rank, n_random, int(seed))
            if fixed or unmatched:
                _warn(
                    f"{fixed + unmatched} of the {size} stimuli of the {name} subset are all of "
                    "their cell, or have no value to match: nothing is drawn in their place; ask "
                    "for fewer match_bins"
                )
            none = unmatched or fixed == size
            controls["matched"].append(None if none else np.concatenate([mine, alike]))
    return controls


def _described(
    table: Array,
    chances: Array,
    errors: Array,
    controls: list[str],
    level: float,
    parameters: dict[str, object],
) -> xr.Dataset:
    """What scores (control, subset, pool, draw), the subset's own first, say, and their chances.

    The subset's own score is the same whatever it is compared with: it stands once.
    """
    dims = ("control", "subset", "pool")
    own, chance, drawn = table[0, :, :, 0], chances[0, :, :, 0], table[..., 1:]
    excess = table - chances
    observed = excess[:1, :, :, :1]
    # an interrupt leaves draws undone: those that are done count
    count = np.isfinite(drawn).sum(-1)

    def tail(end: str) -> Array:
        reached = as_extreme(excess[..., 1:], observed, end).sum(-1)
        defined = (count > 0) & ~np.isnan(observed[..., 0])
        return np.where(defined, (1 + reached) / (1 + count), np.nan)

    greater, less = tail("greater"), tail("less")
    # nanquantile warns of all-NaN slices: where nothing was drawn it sees zeros, and NaN follows
    filled = np.where((count > 0)[..., None], drawn, 0.0)
    ends = np.nanquantile(filled, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    lower, upper, mean = (
        np.where(count > 0, value, np.nan) for value in (*ends, np.nanmean(filled, -1))
    )
    gap, gaps = own[0] - own[1], excess[:, 0] - excess[:, 1]
    # in units of its error: where high subsets are noisier, so would be the null of a plain gap
    error = np.sqrt(errors.sum(1))
    gaps[:, 0] = np.divide(gaps[:, 0], error, out=np.full(error.shape, np.nan), where=error > 0)
    reached = as_extreme(gaps[..., 1:], gaps[..., :1], "two-sided").sum(-1)
    drawn_gaps = np.isfinite(gaps[..., 1:]).sum(-1)
    gap_p = np.where(
        np.isnan(gaps[..., 0]) | (drawn_gaps == 0), np.nan, (1 + reached) / (1 + drawn_gaps)
    )
    # matched subsets of either end are drawn apart, and may overlap
    gap_p[[number for number, name in enumerate(controls) if name == "matched"]] = np.nan
    variables = {
        "score": (dims[1:], own),
        "corrected": (dims[1:], corrected(own, chance, 1.0)),
        "chance": (dims[1:], chance),
        "random_mean": (dims, mean),
        "random_lower": (dims, lower),
        "random_upper": (dims, upper),
        "p_value": (dims, np.minimum(1.0, 2 * np.minimum(greater, less))),
        "p_value_greater": (dims, greater),
        "p_value_less": (dims, less),
        "low_minus_high": (dims[2:], gap),
        "low_minus_high_p_value": (("control", "pool"), gap_p),
    }
    labels = {"control": controls, "subset": ENDS, "pool": POOLS}
    return described(
        {name: xr.DataArray(value, dims=names) for name, (names, value) in variables.items()},
        **parameters,
    ).assign_coords({name: pd.Index(values, dtype=object) for name, values in labels.items()})
