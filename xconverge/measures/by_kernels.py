"""Alignment by kernels over all pairs of stimuli: CKA."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.measure import Measure, Part, Recipe
from xconverge.kernels import cka as kernels
from xconverge.kernels import moved, resampled
from xconverge.kernels.vectors import working_dtype
from xconverge.labels.checks import widths
from xconverge.labels.joins import natural_rank, on_side
from xconverge.labels.messages import choose, listing
from xconverge.measures import long_pairs


def cka(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    kernel: str = "linear",
    debiased: bool = True,
    sigma: float = 1.0,
) -> xr.DataArray:
    """Centred kernel alignment with a linear or an RBF kernel."""
    choose("kernel", kernel, ["linear", "rbf"])
    if not debiased:
        warn_if_wider(a, b, "metric='cka', debiased=False")
    long = long_pairs.are_long(a, b)
    if kernel == "linear":
        result = (long_pairs.linear_cka if long else _linear)(a, b, debiased)
    elif sigma > 0:
        result = (long_pairs.rbf_cka if long else _rbf)(a, b, debiased, sigma)
        result = result.assign_attrs(sigma=float(sigma))
    else:
        raise ValueError(f"sigma={sigma} must be above 0")
    return result.assign_attrs(kernel=kernel, debiased=int(debiased))


def warn_if_wider(a: xr.DataArray, b: xr.DataArray, call: str) -> None:
    """Models of both sides have so many features that any two of them can be mapped together."""
    wide = []
    for side in (a, b):
        n = side.sizes["stimulus"]
        is_wide, _ = xr.broadcast(widths(side) >= n - 1, side["model"])
        is_wide = is_wide.any([dim for dim in is_wide.dims if dim != "model"])
        wide.append(side.indexes["model"][is_wide.values])
    if all(map(len, wide)):
        warnings.warn(
            f"{call}: as many features as stimuli ({n}) in {listing(wide[0])} and "
            f"{listing(wide[1])}; unrelated models then look alike. Reduce them with "
            "xconverge.pca, or use a measure with chance level 0 (debiased cka)",
            RuntimeWarning,
            stacklevel=5,
        )


def _linear(a: xr.DataArray, b: xr.DataArray, debiased: bool) -> xr.DataArray:
    parts: list[xr.DataArray] = []
    core: list[list[str]] = []
    for side, what in ((a, "a"), (b, "b")):
        rows, real = centered_rows(side, what)
        own = apply(
            kernels.own_hsic, rows, real, core=[["stimulus", "feature"], []], debiased=debiased
        )
        inside = f"feature_{what}"
        parts += [
            on_side(part, "model", f"_{what}")
            for part in (rows.rename({"feature": inside}), real, own)
        ]
        core += [["stimulus", inside], [], []]
    result: xr.DataArray = apply(kernels.linear_cka, *parts, core=core, debiased=debiased)
    return result


def centered_rows(side: xr.DataArray, what: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Centred rows of unit scale, once a model, and their width: at most the number of stimuli."""
    real = widths(side, what)
    rows: xr.DataArray = apply(
        kernels.centered,
        side,
        real,
        core=[["stimulus", "feature"], []],
        out=[["stimulus", "feature"]],
        dtypes=[working_dtype(side.dtype)],
        labels=("model", "stimulus"),
        what=what,
    )
    return rows, real.clip(max=side.sizes["stimulus"])


def _rbf(a: xr.DataArray, b: xr.DataArray, debiased: bool, sigma: float) -> xr.DataArray:
    rows = [
        on_side(_scaled(side, sigma, what), "model", f"_{what}")
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(
        kernels.rbf_cka,
        *rows,
        core=[[f"model_{w}", "stimulus", f"feature_{w}"] for w in ("a", "b")],
        out=[["model_a", "model_b"]],
        debiased=debiased,
    )
    return result


def _scaled(side: xr.DataArray, sigma: float, what: str) -> xr.DataArray:
    """Rows whose squared distances go into the RBF kernel, once a model."""
    rows: xr.DataArray = apply(
        kernels.scaled,
        side,
        widths(side, what),
        xr.DataArray(float(sigma)),
        xr.DataArray(natural_rank(side.indexes["stimulus"]), dims="stimulus"),
        core=[["stimulus", "feature"], [], [], ["stimulus"]],
        out=[["stimulus", "feature"]],
        labels=("model", "stimulus"),
        what=what,
    )
    return rows.rename({"feature": f"feature_{what}"})


def _null(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    kernel: str = "linear",
    debiased: bool = True,
    sigma: float = 1.0,
) -> Recipe:
    choose("kernel", kernel, ["linear", "rbf"])
    options = {"debiased": debiased}
    if kernel == "rbf":
        parts_a, parts_b = (
            [(_scaled(side, sigma, what), ["stimulus", f"feature_{what}"])]
            for side, what in ((a, "a"), (b, "b"))
        )
        none = 0.0 if debiased else None
        return Recipe(moved.rbf_cka_null, parts_a, parts_b, chance=none, options=options)
    linear_a, linear_b = (linear_parts(side, what) for side, what in ((a, "a"), (b, "b")))
    chance = 0.0 if debiased else _biased_chance(linear_a, linear_b)
    return Recipe(moved.linear_cka_null, linear_a, linear_b, chance=chance, options=options)


def _resampled(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    kernel: str = "linear",
    debiased: bool = True,
    sigma: float = 1.0,
) -> Recipe:
    recipe = _null(a, b, kernel=kernel, debiased=debiased, sigma=sigma)
    return replace(recipe, scores=resampled.linear_cka if kernel == "linear" else resampled.rbf_cka)


def linear_parts(side: xr.DataArray, what: str) -> list[Part]:
    """Centred rows and their widths, as parts of a null."""
    rows, real = centered_rows(side, what)
    inside = f"feature_{what}"
    return [(rows.rename({"feature": inside}), ["stimulus", inside]), (real, [])]


def _biased_chance(a: Sequence[Part], b: Sequence[Part]) -> xr.DataArray:
    """Mean of biased linear CKA over all permutations, per pair."""
    parts = [
        (on_side(array, "model", f"_{what}"), core)
        for side, what in ((a, "a"), (b, "b"))
        for array, core in side
    ]
    result: xr.DataArray = apply(
        moved.biased_chance, *(array for array, _ in parts), core=[core for _, core in parts]
    )
    return result


MEASURES = {
    "cka": Measure(
        cka,
        per="model pair",
        kind="similarity",
        formula="HSIC(K,L) / sqrt(HSIC(K,K) HSIC(L,L)), unbiased HSIC (Song et al. 2012, eq. 5); "
        "K = XX' of centred features, or with `kernel='rbf'` exp(-|x-y|²/2s²), s = `sigma` times "
        "the median distance. `debiased=False`: the biased HSIC tr(KHLH)",
        range="about -1/n to 1; 0 to 1 if biased",
        chance="0; biased: about d/(n-1+d) for d independent features",
        invariant=("rotation", "translation", "scale"),
        cost="linear: three matrix products, n d², nothing n × n; more features than stimuli are "
        "first rotated into n. RBF: n² d a model, in blocks",
        reference="Kornblith et al. (2019); Song et al. (2012)",
        avoid="biased, with features not few against stimuli: unrelated models then look alike. "
        "Both forms follow the few directions of largest variance",
        null=_null,
        resampled=_resampled,
    ),
}
