"""Similarity of RDMs (RSA), nuisance RDMs partialled out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.measure import Measure
from xconverge.engine.names import names_along, place, side_names, tell_pairs
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.rdms import checked_rdms
from xconverge.kernels import correlation
from xconverge.kernels import rdm as distances
from xconverge.kernels import rsa as kernels
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.kernel import Model, modeled
from xconverge.kernels.rsa import Rsa
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import several
from xconverge.labels.joins import join_extra, join_labels, on_side, take
from xconverge.labels.messages import SchemaError, choose
from xconverge.labels.variables import describe
from xconverge.measures.rdm import TOO_MANY_PAIRS


def rsa(
    rdm_a: xr.DataArray,
    rdm_b: xr.DataArray,
    method: str = "spearman",
    *,
    nuisance: xr.DataArray | Sequence[xr.DataArray] = (),
) -> xr.DataArray:
    """Similarity of RDMs: one number per pair.

    Parameters
    ----------
    rdm_a, rdm_b : DataArray
        (…, stimulus, stimulus_2), distances (0 on the diagonal, or NaN), symmetric, Booleans and
        integers too; joined on the labels of ``stimulus``. Extra dims
        that both have are matched by label, others make an outer product.
    method : {"spearman", "pearson", "kendall", "cosine", "rho-a"}
        Comparison of the upper triangles, over the pairs of stimuli that both have; ``kendall``
        is tau-a, ``rho-a`` the mean of Spearman's rho over random orders of tied distances.
    nuisance : DataArray or sequence of them
        RDMs (stimulus, stimulus_2) of what should not count (luminance, word length …), joined by
        label: for ``spearman`` and ``pearson``, the partial correlation given all of them.

    Returns
    -------
    DataArray
        ``rsa`` (model_a, model_b, …) in [-1, 1], a similarity; a side without ``model`` has
        none in the result. NaN with a warning for fewer than 3 pairs of stimuli, or where all
        distances of an RDM are equal. Lazy if an input is; a task then holds two RDMs, or all
        of both sides where they are small (256 MiB). Every RDM is ranked once.

    Warns
    -----
    RuntimeWarning
        RDMs without a result, by name. A diagonal that is not 0.

    Raises
    ------
    SchemaError
        Labels that do not match. Infinity, an RDM that is not symmetric, or a similarity in its
        place, by the names of the RDM and the stimuli; of lazy RDMs when computed.

    Notes
    -----
    Kriegeskorte, Mur & Bandettini (2008). A p-value comes from permuting stimulus labels
    (``binned_rsa``), never from the correlation of dependent entries.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import rdm, stack_models
    >>> x = np.random.default_rng(0).standard_normal((5, 8))
    >>> reps = stack_models({"a": x, "b": 2 * x}, stimuli=list("vwxyz"))
    >>> rsa(rdm(reps), rdm(reps)).values.round(6).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    choose("method", method, METHODS)
    a, b, controls = join_controls(rdm_a, rdm_b, nuisance, method)
    how = METHODS[method].make
    one = _triangle(on_side(a, "model", "_a"), how)
    other = _triangle(on_side(b, "model", "_b"), how)
    given = [_triangle(control.reset_coords(drop=True), how) for control in controls]
    result = _compared(one, other, xr.concat(given, "_nuisance") if given else None, how)
    return describe(
        result,
        "rsa",
        metric=method,
        n_nuisance=len(controls) or None,
        **pairing_attrs(a, b, *controls),
    )


def join_controls(
    rdm_a: xr.DataArray,
    rdm_b: xr.DataArray,
    nuisance: xr.DataArray | Sequence[xr.DataArray],
    method: str,
) -> tuple[xr.DataArray, xr.DataArray, list[xr.DataArray]]:
    """RDMs and nuisance RDMs over the same stimuli in the same order."""
    controls = several("nuisance", nuisance)
    if controls and method not in ("spearman", "pearson"):
        raise ValueError(f"nuisance goes with method 'spearman' or 'pearson', got {method!r}")
    names = ["rdm_a", "rdm_b", *(f"nuisance {number}" for number in range(len(controls)))]
    a, b, *controls = (
        checked_rdms(one, name) for one, name in zip((rdm_a, rdm_b, *controls), names, strict=True)
    )
    for control, name in zip(controls, names[2:], strict=True):
        extra = [str(dim) for dim in control.dims if dim not in ("stimulus", "stimulus_2")]
        if extra:
            raise SchemaError(f"{name} has the dims {extra} too; choose one with .sel()")
    joined = [a]
    for one, name in zip((b, *controls), names[1:], strict=True):
        join_labels(a, one, "stimulus", "exact", ("rdm_a", name))
        joined.append(join_extra(a, _like(one, a), ("rdm_a", name)))
    return joined[0], joined[1], joined[2:]


def rdm_models(
    kernel: Rsa, a: xr.DataArray, b: xr.DataArray, controls: Sequence[xr.DataArray] = ()
) -> tuple[xr.DataArray, xr.DataArray]:
    """RDMs that were made elsewhere as models (…, model_a) and (…, model_b), prepared once.

    A side without models is one. Nuisances, which are the same for all, travel with each.
    """
    given = [xr.concat(list(controls), "_nuisance").reset_coords(drop=True)] if controls else []
    sides = []
    for side, what in ((a, "a"), (b, "b")):
        if "model" not in side.dims:
            side = side.drop_vars("model", errors="ignore").expand_dims("model")
        found = apply(
            partial(_one_rdm, kernel=kernel),
            on_side(side, "model", f"_{what}"),
            *given,
            core=[
                ["stimulus", "stimulus_2"],
                *(["stimulus", "stimulus_2", "_nuisance"] for _ in given),
            ],
            dtypes=[object],
            cure=TOO_MANY_PAIRS,
        )
        sides.append(found)
    return sides[0], sides[1]


def _one_rdm(rdm: Array, *given: Array, kernel: Rsa) -> Model:
    return modeled(kernel, kernel.prepare_rdm(rdm, given[0] if given else None))


def _compared(
    a: xr.DataArray, b: xr.DataArray, nuisance: xr.DataArray | None, how: correlation.Method
) -> xr.DataArray:
    """Similarity of triangles of either side, those of all models at once where they are small."""
    lazy = any(side.chunks is not None for side in (a, b))
    whole = not lazy or a.nbytes + b.nbytes <= BUDGETS.many_models
    models = [
        [dim for dim in (f"model{end}",) if whole and dim in side.dims]
        for side, end in ((a, "_a"), (b, "_b"))
    ]
    more = [] if nuisance is None else [nuisance]
    lead = [
        str(dim)
        for dim in dict.fromkeys((*a.dims, *b.dims))
        if dim not in ("_pair", "model_a", "model_b")
    ]
    named = [side_names(side, f"model{end}") for side, end in ((a, "_a"), (b, "_b"))]
    result: xr.DataArray = apply(
        partial(_comparisons, given=len(more), lead=lead),
        a,
        b,
        *more,
        *named,
        *(names_along(a if dim in a.dims else b, dim) for dim in lead),
        core=[
            *([*models[0], "_pair"], [*models[1], "_pair"]),
            *(["_nuisance", "_pair"] for _ in more),
            *models,
            *([] for _ in lead),
        ],
        out=[models[0] + models[1]],
        method=how,
    )
    order = dict.fromkeys(dim for dim in (*a.dims, *b.dims) if dim != "_pair")
    return result.transpose(*order)


def _comparisons(
    a: Array, b: Array, *more: Any, given: int, lead: Sequence[str], method: correlation.Method
) -> Array:
    """``comparisons`` of one triangle, or of several, of either side, told by name."""
    one, other = (list(np.atleast_2d(side)) for side in (a, b))
    names_a, names_b, *places = more[given:]
    empty = [str(i) for rows in more[:given] for i, row in enumerate(rows) if np.isnan(row).all()]
    elsewhere = f" given nuisance {', '.join(empty)}, without distances" if empty else ""
    tell = partial(
        tell_pairs,
        list(np.atleast_1d(names_a)),
        list(np.atleast_1d(names_b)),
        place(lead, places) + elsewhere,
    )
    found = kernels.comparisons(one, other, *more[:given], method=method, tell=tell)
    return found.reshape(a.shape[:-1] + b.shape[:-1])


def _triangle(side: xr.DataArray, method: correlation.Method) -> xr.DataArray:
    # what is in memory was found symmetric at the door, lazy RDMs block by block alone
    known = side.chunks is None
    lead = [str(dim) for dim in side.dims if dim not in ("stimulus", "stimulus_2")] if known else []
    result: xr.DataArray = apply(
        distances.uppers if known else distances.triangle,
        side,
        core=[[*lead, "stimulus", "stimulus_2"]],
        out=[[*lead, "_pair"]],
        sizes={"_pair": side.sizes["stimulus"] * (side.sizes["stimulus"] - 1) // 2},
        cure=TOO_MANY_PAIRS,
        ranked=method.ranked,
    )
    return result


def _like(side: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    labels = other.indexes["stimulus"]
    return take(take(side, "stimulus", labels), "stimulus_2", labels)


_CHANCE = "0 on average; permute stimulus labels, never entries"
_REFERENCE = "Kriegeskorte, Mur & Bandettini (2008)"
_COST = "ranks n² log n once an RDM, then n² a pair"

METHODS = {
    "spearman": Measure(
        correlation.METHODS["spearman"],
        per="RDM pair",
        kind="similarity",
        formula="Pearson correlation of the ranks of the upper triangles",
        range="-1 to 1",
        chance=_CHANCE,
        invariant=("scale", "translation"),
        cost=_COST,
        reference=_REFERENCE,
        avoid="with models that predict ties (categories): it prefers models without; rho-a or "
        "kendall then",
    ),
    "pearson": Measure(
        correlation.METHODS["pearson"],
        per="RDM pair",
        kind="similarity",
        formula="Pearson correlation of the upper triangles",
        range="-1 to 1",
        chance=_CHANCE,
        invariant=("scale", "translation"),
        cost="n² a pair",
        reference=_REFERENCE,
        avoid="where distances are only ordinal",
    ),
    "kendall": Measure(
        correlation.METHODS["kendall"],
        per="RDM pair",
        kind="similarity",
        formula="tau-a: (concordant - discordant) / all pairs of distances",
        range="-1 to 1; below 1 where distances tie",
        chance=_CHANCE,
        invariant=("scale", "translation"),
        cost="n² log n a pair and a permutation",
        reference="Nili et al. (2014)",
        avoid="on many stimuli with permutations: rho-a ranks models alike, and is faster",
    ),
    "cosine": Measure(
        correlation.METHODS["cosine"],
        per="RDM pair",
        kind="similarity",
        formula="u·v / |u||v| of the upper triangles",
        range="-1 to 1; 0 to 1 for distances that are not negative",
        chance="not 0: distances are positive; permute stimulus labels",
        invariant=("scale",),
        cost="n² a pair",
        reference="Diedrichsen & Kriegeskorte (2017)",
        avoid="on distances that are biased upwards by noise: their zero must mean something",
    ),
    "rho-a": Measure(
        correlation.METHODS["rho-a"],
        per="RDM pair",
        kind="similarity",
        formula="12 Σ (r - r̄)(s - s̄) / (N³ - N) of mean ranks r, s of N distances: the mean of "
        "Spearman's rho over random orders of ties",
        range="-1 to 1; below 1 where distances tie",
        chance=_CHANCE,
        invariant=("scale", "translation"),
        cost=_COST,
        reference="Schütt et al. (2023)",
        avoid="where an RDM with itself must score 1 in spite of ties",
    ),
}
