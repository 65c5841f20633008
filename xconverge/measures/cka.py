"""Alignment by kernels or distances over all pairs of stimuli: CKA, distance correlation."""

from __future__ import annotations

import warnings
from typing import Any

import xarray as xr

from xconverge.engine.measure import Measure, Plan
from xconverge.engine.pair import Pair
from xconverge.kernels.cka import LinearCka, RbfCka
from xconverge.kernels.distance_correlation import DistanceCorrelation
from xconverge.kernels.kernel import Kernel
from xconverge.labels.arguments import flags, real
from xconverge.labels.checks import widths
from xconverge.labels.messages import choose, listing


def cka(pair: Pair, *, kernel: str = "linear", debiased: bool = True, sigma: float = 1.0) -> Plan:
    """Centred kernel alignment with a linear or an RBF kernel."""
    choose("kernel", kernel, ["linear", "rbf"])
    flags(debiased=debiased)
    if not debiased:
        warn_if_wider(pair, "metric='cka', debiased=False")
    real("sigma", sigma, above=0)
    made: Kernel[Any] = LinearCka(debiased)
    if kernel == "rbf":
        made = RbfCka(debiased, float(sigma))
    return Plan(made, attrs={"kernel": kernel})


def distance_correlation(pair: Pair, *, debiased: bool = True) -> Plan:
    """Distance correlation, bias-corrected or as first defined."""
    flags(debiased=debiased)
    if not debiased:
        warn_if_wider(pair, "metric='distance_correlation', debiased=False")
    return Plan(DistanceCorrelation(debiased))


def warn_if_wider(pair: Pair, call: str) -> None:
    """Models of both sides have so many features that any two of them can be mapped together."""
    wide = []
    for side, _ in pair.sides:
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
        resample=True,
    ),
    "distance_correlation": Measure(
        distance_correlation,
        per="model pair",
        kind="similarity",
        formula="R* = ΣA∘B / sqrt(ΣA∘A ΣB∘B), A and B the Euclidean distances of all pairs of "
        "stimuli, U-centred; no root is taken. `debiased=False`: dCor, the root of the same ratio "
        "with row, column and grand means taken out (double-centred)",
        range="about -1/n to 1, negative where less alike than by chance; 0 to 1 if biased",
        chance="0; biased: above 0, and toward 1 for more features than stimuli",
        invariant=("rotation", "translation", "scale"),
        cost="n² d a model, n² a pair, in blocks; permuted, n × n distances",
        reference="Székely, Rizzo & Bakirov (2007), eq. 2.8-2.10; Székely & Rizzo (2014), "
        "eq. 3.1-3.2",
        avoid="biased, with features not few against stimuli: unrelated models then look alike; "
        "nor one form beside the other, since R* compares with the square of dCor",
        resample=True,
    ),
}
