"""What the residuals of all models in a shared space have in common."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.kernels.components import first_component
from xconverge.labels.checks import check_only
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.variables import describe


def residual_component(residual: xr.DataArray) -> xr.DataArray:
    """First principal component of the models' residuals: what they find odd together.

    Parameters
    ----------
    residual : DataArray
        (model, stimulus), ``shared_space(...)["residual"]``.

    Returns
    -------
    DataArray
        ``residual_component`` (stimulus), a criterion for ``select_stimuli``: scores of the
        stimulus × model matrix with centred columns, in the unit of the residuals, high where the
        residuals are. NaN where a model did not see the stimulus. ``attrs["explained"]`` is the
        share of the variance that it holds.

    Warns
    -----
    RuntimeWarning
        Fewer than 3 stimuli that all models saw, or equal residuals: NaN.

    Raises
    ------
    SchemaError
        Other dims, fewer than two models, labels that are missing or not unique.

    Notes
    -----
    The sign of a component is arbitrary; here it correlates positively with the dispersion
    ``consensus``, the root of the summed squared residuals. Columns are not scaled: models that
    lie far from the consensus weigh more. Computes a lazy input.

    Hosseini, Cheung, Fedorenko & Williams (arXiv 2604.21836) rank stimuli by it.

    Examples
    --------
    >>> from xconverge import shared_space
    >>> from xconverge.testing import planted_study
    >>> vision = planted_study(rng=0)["vision"]
    >>> odd = residual_component(shared_space(vision)["residual"])
    >>> odd.dims, bool(odd.attrs["explained"] > 0.5)
    (('stimulus',), True)
    """
    residual = check_only(residual, "model", "stimulus", what="residual")
    if residual.sizes["model"] < 2:
        raise SchemaError(
            f"residual must have at least 2 models, got {listing(residual.indexes['model'])}"
        )
    scores, explained = apply(
        first_component,
        residual.compute(),
        core=[["model", "stimulus"]],
        out=[["stimulus"], []],
        dtypes=[np.float64, np.float64],
    )
    return describe(scores, "residual_component", explained=float(explained))
