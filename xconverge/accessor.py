"""The accessor ``.xc``: what starts from an array or a study, from the array or the study itself.

``reps.xc.dispersion("neighborhood")`` is ``xconverge.dispersion(reps, "neighborhood")``; nothing
else is behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from html import escape
from importlib import import_module
from inspect import signature
from typing import Any

import xarray as xr

OF_ARRAYS = (
    "alignment", "append_models", "binned_rsa", "center", "clamp", "confidence_interval",
    "dispersion", "dispersion_bins", "find_duplicates", "local_density", "modulation",
    "neighbor_graph", "noise_ceiling", "pair", "pca", "rdm", "recommend_chunks", "reliability",
    "residual_component", "rsa", "searchlight", "select_stimuli", "shared_space", "stimulus_norm",
    "transform", "unit_rows", "validate", "write_representations", "zscore",
)  # fmt: skip
"""Functions whose first argument, or the one after a path, is an array."""
AFTER_A_PATH = ("append_models", "write_representations", "write_study")
OF_STUDIES = ("findings", "methods", "tables")


def _bound(function: Callable[..., Any], of: Any) -> Callable[..., Any]:
    """A function of which this is the array, or the tree; its help is the function's."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if function.__name__ not in AFTER_A_PATH:
            return function(of, *args, **kwargs)
        # the path is the only one that may be given by its place
        second = list(signature(function).parameters)[1]
        return function(*args, **{second: of}, **kwargs)

    return call


class Plots:
    """Figures of one result: ``table.xc.plot.binned_rsa()``."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __dir__(self) -> list[str]:
        """Figures."""
        return list(import_module("xconverge.plot").__all__)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A figure, of this result."""
        if name not in dir(self):
            raise AttributeError(f"there is no figure {name!r}; there are {', '.join(dir(self))}")
        return _bound(getattr(import_module("xconverge.plot"), name), self._of)


class _Accessor:
    """What all have in common."""

    def __init__(self, of: Any) -> None:
        self._of = of

    @property
    def plot(self) -> Plots:
        """Figures, of this as the first argument."""
        return Plots(self._of)


@xr.register_dataarray_accessor("xc")  # type: ignore[no-untyped-call]
class ArrayAccessor(_Accessor):
    """Functions of xconverge with this array as their first."""

    def __dir__(self) -> list[str]:
        """Functions."""
        return [*OF_ARRAYS, "plot"]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A function, with this array as its first."""
        if name not in OF_ARRAYS:
            raise AttributeError(f"no function {name!r} here; there are {', '.join(OF_ARRAYS)}")
        function = getattr(import_module("xconverge"), name)
        return _bound(function, self._of)

    def __repr__(self) -> str:
        """Say what it offers."""
        return f"<.xc of {self._of.name or 'an array'}: {', '.join(dir(self))}>"


@xr.register_dataset_accessor("xc")  # type: ignore[no-untyped-call]
class DatasetAccessor(_Accessor):
    """Figures of this result."""


@xr.register_datatree_accessor("xc")  # type: ignore[no-untyped-call]
class StudyAccessor(_Accessor):
    """A study in words, tables, figures and one page; shown by itself it says what was found."""

    def __dir__(self) -> list[str]:
        """What there is of a study."""
        return ["plot", "report", "write_study", *OF_STUDIES]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A function of a study."""
        if name == "write_study":
            return _bound(import_module("xconverge").write_study, self._of)
        if name not in OF_STUDIES:
            raise AttributeError(f"no function {name!r} here; there are {', '.join(dir(self))}")
        return _bound(getattr(import_module("xconverge.report"), name), self._of)

    @property
    def report(self) -> Callable[..., Any]:
        """``study.xc.report("report.html")`` is ``xconverge.report.write``."""
        return partial(import_module("xconverge.report").write, self._of)

    def __repr__(self) -> str:
        """What was found, in words."""
        return "\n".join(["Study", *(f"• {text}" for text in self._told())])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(text)}</li>" for text in self._told())
        return f"<strong>Study</strong><ul>{items}</ul>"

    def _told(self) -> list[str]:
        try:
            found: list[str] = import_module("xconverge.report").findings(self._of)
        except ValueError:
            return [f"no study of analyze; groups: {', '.join(self._of.children) or 'none'}"]
        return found
