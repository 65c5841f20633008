"""The paragraph that says how a study was made, ready to paste."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from xconverge.report.tables import models, needed, rsa_of, sides, target_of

PAPER = "Hosseini, Cheung, Fedorenko & Williams (arXiv 2604.21836)"


def methods(study: xr.DataTree) -> str:
    """How a study was made, as a paper's methods section says it.

    Parameters
    ----------
    study : DataTree
        What ``analyze`` returns, or ``open_store`` opens of it.

    Returns
    -------
    str
        Numbers of models and stimuli, every setting, the seed and the versions.

    Raises
    ------
    SchemaError
        This is no study.

    Examples
    --------
    >>> from xconverge import analyze
    >>> from xconverge.testing import planted_study
    >>> study = analyze(planted_study(3, 60, rng=0), n_permutations=19, rng=0)
    >>> "(seed " in methods(study)
    True
    """
    scores = needed(study, "alignment")["mutual_knn"]
    space = needed(study, "shared_space")
    effect = needed(study, "modulation")
    one, _ = sides(study)
    attrs = study.attrs
    components = space.sizes.get("component", space.sizes.get("feature", 0))
    parts = [
        f"We compared {models(study, 'a')} with {models(study, 'b')} on "
        f"{scores.sizes['stimulus']} stimuli{_left_out(attrs)}.",
        f"For each stimulus, dispersion of the {one} models is one minus the mean overlap of its "
        f"{attrs.get('k')} nearest neighbours between pairs of models (neighbourhood dispersion), "
        "beside one minus the mean correlation of its rows of the models' dissimilarity matrices, "
        f"and the distance to the consensus of a shared space of {components} principal components "
        f"(generalised Procrustes), as it is and divided by the norm, after {PAPER}.",
        f"Cross-modal alignment is the overlap of the {attrs.get('k')} nearest neighbours (mutual "
        "k-nearest neighbours), for each pair of models among the stimuli that both saw.",
        f"We related the two by Spearman's correlation, and in {effect.sizes['bin']} bins of equal "
        "size; p-values are those of linear mixed models whose random effects are the geometry of "
        "both modalities and the categories of the stimuli, as stimuli that are alike are not "
        f"exchangeable ({attrs.get('n_permutations')} draws for corrections).",
    ]
    if "equal_noise" in study.children:
        told = needed(study, "equal_noise")
        draws = told["equal_noise_p_value"].attrs["n_equal_noise"]
        parts.append(
            "To tell the effect from what geometry alone gives, each model was left out of its own "
            "dispersion, local density was partialled out, and the correlation was compared with "
            f"that of {draws} draws of models with equal noise at every stimulus (their residuals "
            "from the consensus permuted over stimuli)."
        )
    if "rsa" in study.children:
        told = rsa_of(study)
        counts = [str(int(n)) for n in np.atleast_1d(told["n_stimuli"].values)]
        parts.append(
            f"Representational similarity to {target_of(study)} was computed in {len(counts)} bins "
            f"of neighbourhood dispersion ({', '.join(counts)} stimuli), by "
            f"{str(told.attrs.get('metric', 'spearman')).capitalize()}'s correlation of "
            f"dissimilarities (models: {told.attrs.get('rdm_metric')}); p-values permute stimuli."
        )
    used = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "xarray"))
    parts.append(
        f"Computed with xconverge {attrs.get('xconverge_version', version('xconverge'))} "
        f"(seed {attrs.get('seed')}), {used} and Python {platform.python_version()}."
    )
    return " ".join(parts)


def _left_out(attrs: Mapping[Any, Any]) -> str:
    """How stimuli were paired."""
    on = attrs.get("pair_on")
    parts = [] if on is None else [f"paired by {on}"]
    if on is not None and attrs.get("repeats"):
        parts.append(f"the {attrs['repeats']} of several rows of one stimulus")
    if attrs.get("n_dropped"):
        parts.append(f"{attrs['n_dropped']} others, which one of the sets lacks, are left out")
    return f" ({'; '.join(parts)})" if parts else ""
