"""The range in which the RSA of a true model lies: noise ceilings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.names import named_at, names_along, place
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.rdms import checked_rdms
from xconverge.kernels import correlation
from xconverge.kernels import rsa as kernels
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_dims
from xconverge.labels.families import as_subjects
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import described
from xconverge.measures.rsa import METHODS

MEASUREMENTS = ("subject", "repetition")
"""What a noise ceiling may be over."""


def noise_ceiling(
    rdms: xr.DataArray, method: str = "spearman", *, over: str | Sequence[str] = "subject"
) -> xr.Dataset:
    """The range in which the RSA of the true model with these measurements lies.

    Parameters
    ----------
    rdms : DataArray
        (…, subject, stimulus, stimulus_2), at least two subjects, or the other dims of ``over``;
        extra dims are mapped over. Models with a coordinate ``subject``, one of each, are taken for
        subjects.
    method : {"spearman", "pearson", "kendall", "cosine", "rho-a"}
        Comparison, as in ``rsa``.
    over : {"subject", "repetition"} or both
        What the measurements are: subjects, repetitions, or ``("subject", "repetition")``, each
        repetition of each subject.

    Returns
    -------
    Dataset
        ``upper``, the mean similarity of each measurement's RDM with the mean of all, and
        ``lower``, with the mean of those that share neither its subject nor its repetition, over
        the pairs of stimuli that all have; both similarities in [-1, 1]. Before they are averaged,
        RDMs are ranked, standardised or set to unit norm, as the method does. ``n_subjects``,
        ``n_repetitions`` and ``n_stimuli`` say on how many it rests; ``attrs`` how many subjects
        and repetitions were given. NaN with a warning for fewer than 2 measurements or 3 common
        pairs. Lazy if ``rdms`` is; a task holds the RDMs of all measurements.

    Warns
    -----
    RuntimeWarning
        Measurements without distances, or whose distances are all equal (all 0 for ``cosine``), by
        name: the ceiling is that of the others.

    Raises
    ------
    SchemaError
        Fewer than two subjects or repetitions, labels that are missing or not unique; what ``rsa``
        refuses.
    ValueError
        ``over`` that is neither.

    Notes
    -----
    Nili et al. (2014), A toolbox for representational similarity analysis. For ``kendall`` the
    mean of ranks is used, which is close to the best but not the best.

    It is of single measurements: that of the RDM of all trials together is ``trial_ceiling``.
    Measurements that share more than the truth have a ceiling that is too high. Distances of single
    repetitions are lifted where stimuli are noisy, alike in all of them; of those of several,
    ``rdm(reps, "crossnobis")``, noise lifts none.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xconverge import rdm
    >>> x = np.random.default_rng(0).standard_normal((6, 3))
    >>> brain = xr.DataArray([x, 2 * x], dims=("subject", "stimulus", "feature"),
    ...     coords={"subject": ["s1", "s2"], "stimulus": list("abcdef")})
    >>> ceiling = noise_ceiling(rdm(brain))
    >>> float(ceiling["lower"].round(6)), float(ceiling["upper"].round(6))
    (1.0, 1.0)
    """
    choose("method", method, METHODS)
    dims = _measurements(over)
    rdms = check_dims(rdms, "stimulus", "stimulus_2", what="rdms")
    if "subject" in dims:
        rdms = as_subjects(rdms, "rdms")
    rdms = checked_rdms(check_dims(rdms, *dims, what="rdms"), "rdms")
    for dim in dims:
        if rdms.sizes[dim] < 2:
            raise SchemaError(f"a noise ceiling needs at least 2 {dim}s, got {rdms.sizes[dim]}")
    lead = [str(dim) for dim in rdms.dims if dim not in (*dims, "stimulus", "stimulus_2")]
    counts = [f"n_{dim}s" for dim in dims]
    parts = apply(
        _ceiling,
        rdms,
        *(names_along(rdms, dim) for dim in (*dims, *lead)),
        core=[[*dims, "stimulus", "stimulus_2"], *([dim] for dim in dims), *([] for _ in lead)],
        out=[[]] * (3 + len(dims)),
        dtypes=[np.float64, np.float64, *(np.int64 for _ in counts), np.int64],
        dims=dims,
        lead=lead,
        method=METHODS[method].make,
    )
    return described(
        dict(zip(("lower", "upper", *counts, "n_stimuli"), parts, strict=True)),
        metric=method,
        over=None if dims == ["subject"] else ", ".join(dims),
        **{count: rdms.sizes[dim] for count, dim in zip(counts, dims, strict=True)},
        **pairing_attrs(rdms),
    )


def _measurements(over: Any) -> list[str]:
    """The dims of measurements, in the order of the table."""
    given = [over] if isinstance(over, str) else over
    names = list(given) if isinstance(given, Sequence) else [given]
    if not names or len(set(map(str, names))) < len(names):
        raise ValueError(f"over must be one of {', '.join(MEASUREMENTS)}, or both, got {over!r}")
    for name in names:
        choose("over", name, MEASUREMENTS)
    return [dim for dim in MEASUREMENTS if dim in names]


def _ceiling(
    rdms: Array,
    *names: Any,
    dims: Sequence[str],
    lead: Sequence[str],
    method: correlation.Method,
) -> tuple[Any, ...]:
    """Both ends, how many there are along ``dims`` and stimuli; names who is left out."""
    shape = rdms.shape[: len(dims)]
    labels, places = names[: len(dims)], names[len(dims) :]
    at = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), 1)
    # what shares nothing with each: neither its subject nor its repetition
    others = (at[:, None] != at).all(-1)
    found = kernels.noise_ceiling(rdms.reshape(-1, *rdms.shape[-2:]), method, others)
    count = int(found.used.sum())
    where = place(lead, places)
    if count < len(at):
        gone = at[~found.used]
        who = (
            f"{dims[0]} {listing(labels[0][gone[:, 0]])}"
            if len(dims) == 1
            else "; ".join(named_at(dims, labels, position) for position in gone[:5])
        )
        why = "without distances or with equal ones alone"
        if len(dims) > 1:
            why += ", or with no other subject and repetition to compare with"
        warnings.warn(
            f"noise_ceiling{where} leaves out {who}, {why}; it rests on the {count} others"
            f"{': NaN, 2 are needed' if count < 2 else ''}",
            RuntimeWarning,
            stacklevel=2,
        )
    elif np.isnan(found.lower):
        all_of = f"{dims[0]}s" if len(dims) == 1 else "measurements"
        warnings.warn(
            f"a noise ceiling{where} needs at least 3 pairs of stimuli that all {all_of} have; "
            f"{found.n_stimuli} stimuli have any: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    counts = [len(np.unique(at[found.used, axis])) for axis in range(len(dims))]
    return found.lower, found.upper, *counts, found.n_stimuli
