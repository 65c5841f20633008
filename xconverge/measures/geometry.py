"""Alignment by representational geometry, and by coordinates that are shared."""

from __future__ import annotations

import numpy as np

from xconverge.engine.measure import Measure, Plan
from xconverge.engine.pair import Pair
from xconverge.kernels.cosine import SharedCosine
from xconverge.kernels.rdm_rows import RdmRows
from xconverge.kernels.rsa import Rsa
from xconverge.kernels.vectors import METRICS
from xconverge.labels.checks import check_shared, widths
from xconverge.labels.messages import SchemaError, choose
from xconverge.measures.rdm import DISTANCES
from xconverge.measures.rsa import METHODS


def rdm(pair: Pair, *, rdm_metric: str = "correlation") -> Plan:
    """Correlation of row i of the two RDMs, per stimulus."""
    choose("rdm_metric", rdm_metric, METRICS)
    return Plan(RdmRows(rdm_metric), attrs={"metric": None, "rdm_metric": rdm_metric})


def rsa(pair: Pair, *, rdm_metric: str = "correlation", method: str = "spearman") -> Plan:
    """Similarity of the two RDMs."""
    choose("rdm_metric", rdm_metric, DISTANCES)
    choose("method", method, METHODS)
    return Plan(Rsa(rdm_metric, method), attrs={"metric": None, "rdm_metric": rdm_metric})


def cosine(pair: Pair) -> Plan:
    """Cosine of the two vectors of a stimulus in one shared space."""
    for side, _ in pair.sides:
        check_shared(side, "metric='cosine'")
    width = {int(np.max(widths(side))) for side, _ in pair.sides}
    if len(width) > 1:
        raise SchemaError(
            f"metric='cosine' needs both sides in one shared space, they have {sorted(width)} "
            "features; use 'mutual_knn' or 'rdm' for unrelated spaces"
        )
    return Plan(SharedCosine())


MEASURES = {
    "cosine": Measure(
        cosine,
        per="stimulus",
        kind="similarity",
        formula="a_i·b_i / |a_i||b_i|",
        range="-1 to 1",
        chance="0 for independent centred vectors",
        invariant=("scale", "row norm"),
        cost="n d a pair",
        reference="",
        avoid="on features that are not in one shared space: it warns, and refuses other widths",
        resample=True,
    ),
    "rdm": Measure(
        rdm,
        per="stimulus",
        kind="similarity",
        formula="Pearson correlation of row i of the two RDMs, i excluded",
        range="-1 to 1",
        chance="0",
        invariant=("scale", "row norm"),
        cost="n² d a model and n² a pair, in blocks",
        reference="Kriegeskorte, Mur & Bandettini (2008)",
        avoid="where few distant stimuli decide. It is invariant to what its `rdm_metric` is",
        resample=True,
    ),
    "rsa": Measure(
        rsa,
        per="model pair",
        kind="similarity",
        formula="RSA by `method` of the RDMs by `rdm_metric`",
        range="-1 to 1",
        chance="0 on average; permute stimulus labels, never entries",
        invariant=("scale", "row norm"),
        cost="n² d and n² log n a model, n² a pair",
        reference="Kriegeskorte, Mur & Bandettini (2008)",
        avoid="with p-values of entries, which depend on each other. It is invariant to what its "
        "`rdm_metric` is",
        resample=True,
    ),
}
