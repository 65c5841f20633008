"""Norm of every stimulus's vector, a nuisance of raw dispersion."""

from __future__ import annotations

import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import by_rows
from xconverge.kernels.vectors import row_norms
from xconverge.labels.checks import check_representations, widths
from xconverge.labels.variables import describe


def stimulus_norm(reps: xr.DataArray) -> xr.DataArray:
    """Euclidean norm of every stimulus's vector, in each model.

    Raw dispersion follows it; partial it out of ``modulation`` beside ``local_density``.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width, or a shared space.

    Returns
    -------
    DataArray
        ``stimulus_norm`` (model, stimulus), at least 0, in the unit of the features; NaN where
        missing. Lazy if ``reps`` is; a task holds a block of stimuli.

    Raises
    ------
    SchemaError
        Faulty rows, by name, when computed.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.array([[3.0, 4.0], [0.0, 0.0]])}, stimuli=["cat", "dog"])
    >>> stimulus_norm(reps).values.tolist()
    [[5.0, 0.0]]
    """
    reps = check_representations(reps)

    def norms(part: slice) -> xr.DataArray:
        found: xr.DataArray = apply(
            row_norms,
            reps.isel({"stimulus": part}),
            widths(reps),
            core=[["stimulus", "feature"], []],
            out=[["stimulus"]],
            labels=("model", "stimulus"),
        )
        return found

    result = by_rows(reps, norms)
    return describe(result, "stimulus_norm", modality=reps.attrs.get("modality"))
