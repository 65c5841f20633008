"""The shared space as an estimator of scikit-learn: for pipelines and cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.stack import stack_models
from xconverge.measures.shared_space import COMPONENT, shared_space, transform

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "sklearn":
        raise
    raise ImportError(
        "xconverge.sklearn needs scikit-learn, which is not installed: pip install scikit-learn"
    ) from error

__all__ = ["SharedSpace"]

Widths = Mapping[str, int] | Sequence[int] | int | None


class SharedSpace(TransformerMixin, BaseEstimator):
    """Rotate models into one space, fitted to the rows of ``fit`` alone.

    A transformer of scikit-learn around `xconverge.shared_space` and `xconverge.transform`: in a
    ``Pipeline``, ``cross_val_score`` fits the space to the training stimuli of every fold, and
    places the others in it without having seen them.

    Parameters
    ----------
    widths : dict, sequence of int, int or None
        How the columns of ``X`` belong to models: the number of columns of each, by name or in
        their order; one number for models of that width. None: as the columns of a DataFrame say,
        called ``"MODEL NUMBER"`` as `xconverge.io.to_sklearn` calls them.
    output : str
        ``"consensus"``: the mean of the models that saw a stimulus; ``"aligned"``: the coordinates
        of all models side by side; or the name of a model: its coordinates.
    n_components : int, optional
        Principal components kept of each model.
    start : str
        Where the consensus starts: ``"spectral"``, or the name of a model.
    n_restarts : int
        Further starts from random rotations.
    tolerance : float, optional
        As in `xconverge.shared_space`.
    max_iterations : int
        As in `xconverge.shared_space`.
    random_state : int, RandomState or None
        For random starts.

    Attributes
    ----------
    space_ : Dataset
        What `xconverge.shared_space` returned for the rows of ``fit``, with labels.
    widths_ : dict
        Number of columns of every model.
    n_components_ : int
        Components of the space.
    n_features_in_ : int
        Columns of ``X``.
    feature_names_in_ : ndarray of str
        Their names, if it was a DataFrame.

    Raises
    ------
    ImportError
        scikit-learn is not installed (when the module is imported).
    ValueError
        Columns that the widths do not add up to, fewer than two models, and what
        `xconverge.shared_space` refuses (as a SchemaError, which is a ValueError).

    Warns
    -----
    RuntimeWarning
        As `xconverge.shared_space`: as many components as stimuli; no convergence.

    Notes
    -----
    A stimulus that a model never saw is NaN in all columns of it; it is placed by the others. The
    sizes of the components follow the number of rows of ``fit``: a model has a norm of 1 over them,
    so that a penalty that suits 100 stimuli is too large for 1000. Choose it by ``RidgeCV``, or put
    a ``StandardScaler`` behind.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> import xconverge as xc
    >>> from xconverge.sklearn import SharedSpace
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((60, 3))
    >>> nets = {}
    >>> for name in "abc":
    ...     turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    ...     nets[name] = (z + 0.01 * rng.standard_normal((60, 3))) @ turn
    >>> data = xc.io.to_sklearn(xc.stack_models(nets, stimuli=[f"s{i}" for i in range(60)]), rng=0)
    >>> pipe = make_pipeline(SharedSpace(data.widths), Ridge(1e-9))
    >>> bool(cross_val_score(pipe, data.X, z[:, 0], cv=data.cv).min() > 0.999)
    True
    """

    def __init__(
        self,
        widths: Widths = None,
        *,
        output: str = "consensus",
        n_components: int | None = None,
        start: str = "spectral",
        n_restarts: int = 0,
        tolerance: float | None = None,
        max_iterations: int = 2000,
        random_state: Any = None,
    ) -> None:
        self.widths = widths
        self.output = output
        self.n_components = n_components
        self.start = start
        self.n_restarts = n_restarts
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the space to these rows.

        Parameters
        ----------
        X : array or DataFrame
            (stimulus, feature), the features of all models side by side.
        y : None
            Not used.

        Returns
        -------
        SharedSpace
            This estimator.
        """
        values = validate_data(self, X, ensure_all_finite="allow-nan", ensure_min_samples=2)
        self.widths_ = self._widths()
        outputs = ("consensus", "aligned", *self.widths_)
        if self.output not in outputs:
            raise ValueError(f"output must be one of {listing(outputs)}, got {self.output!r}")
        seed = self.random_state
        if not (seed is None or isinstance(seed, int | np.integer)):
            seed = int(check_random_state(seed).randint(2**31))
        self.space_ = shared_space(
            self._models(X, values),
            n_components=self.n_components,
            start=self.start,
            n_restarts=self.n_restarts,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            rng=seed,
        )
        self.n_components_ = self.space_.sizes[COMPONENT]
        return self

    def transform(self, X: Any) -> Array:
        """Coordinates of these rows in the space.

        Parameters
        ----------
        X : array or DataFrame
            (stimulus, feature), with the columns that ``fit`` had.

        Returns
        -------
        ndarray or DataFrame
            (stimulus, component) of the consensus or a model; of all models side by side for
            ``output="aligned"``. NaN where no model (or that model) saw the stimulus.
        """
        check_is_fitted(self)
        values = validate_data(self, X, ensure_all_finite="allow-nan", reset=False)
        aligned = transform(self._models(X, values), self.space_)
        if self.output == "consensus":
            result = aligned.mean("model")
        elif self.output == "aligned":
            result = aligned.stack(column=["model", COMPONENT])
        else:
            result = aligned.sel(model=self.output)
        return np.asarray(result.transpose("stimulus", ...).values)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the columns that ``transform`` gives.

        Parameters
        ----------
        input_features : sequence of str, optional
            Names of the columns of ``X``, which must be those that ``fit`` had.

        Returns
        -------
        ndarray of str
            ``"component 0"`` …; with the name of the model before it for ``output="aligned"``.
        """
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", None)
        if input_features is not None:
            if known is not None and not np.array_equal(known, input_features):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(input_features) != self.n_features_in_:
                raise ValueError(
                    "input_features should have length equal to number of features "
                    f"({self.n_features_in_}), got {len(input_features)}"
                )
        names = [f"component {i}" for i in range(self.n_components_)]
        if self.output == "aligned":
            names = [f"{model} {name}" for model in self.widths_ for name in names]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator."""
        tags = super().__sklearn_tags__()
        # a stimulus that a model never saw
        tags.input_tags.allow_nan = True
        return tags

    def _widths(self) -> dict[str, int]:
        """How many columns each model has."""
        given, n = self.widths, int(self.n_features_in_)
        if given is None:
            found = _named(getattr(self, "feature_names_in_", None))
        elif isinstance(given, Mapping):
            found = {str(name): int(width) for name, width in given.items()}
        else:
            each = [given] * (n // max(given, 1)) if isinstance(given, int) else given
            found = {f"model {i}": int(width) for i, width in enumerate(each)}
        if sum(found.values()) != n or min(found.values(), default=0) < 1:
            raise ValueError(
                f"widths={given!r} must be at least 1 each and add up to the columns of X, "
                f"n_features = {n}"
            )
        if len(found) < 2:
            raise ValueError(
                f"a shared space needs at least 2 models, and widths={given!r} makes "
                f"{len(found)} of X with n_features = {n}"
            )
        return found

    def _models(self, X: Any, values: Array) -> xr.DataArray:
        """The columns as a representation set, with the labels of the rows if they have any."""
        index = X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(len(values))
        text = index.is_unique and all(isinstance(label, str) for label in index)
        labels = list(index) if text else [str(i) for i in range(len(values))]
        parts = np.split(values, np.cumsum([*self.widths_.values()])[:-1], axis=1)
        return stack_models(dict(zip(self.widths_, parts, strict=True)), stimuli=labels)


def _named(columns: Any) -> dict[str, int]:
    """Widths of models whose columns are called "MODEL NUMBER", those of each in a row from 0."""
    found: dict[str, int] = {}
    for column in () if columns is None else columns:
        name, _, number = str(column).rpartition(" ")
        apart = name in found and name != next(reversed(found))
        if not name or apart or number != str(found.get(name, 0)):
            raise SchemaError(
                f"X has a column {column!r}, and without widths columns must be called "
                "'MODEL NUMBER', those of a model side by side from 0 on, as "
                "xconverge.io.to_sklearn makes them; else give widths={'vit': 768, …}"
            )
        found[name] = found.get(name, 0) + 1
    if not found:
        raise SchemaError(
            "X does not say which columns belong to which model: give widths={'vit': 768, …}, the "
            "number of columns of each in their order, or X as a DataFrame of "
            "xconverge.io.to_sklearn"
        )
    return found
