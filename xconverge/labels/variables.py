"""The table of variables: what every result is, in words, and its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xconverge.labels.coordinates import set_aside


@dataclass(frozen=True)
class Variable:
    """One row of the table of variables.

    Parameters
    ----------
    dims : str
        Its dims, as words.
    kind : str
        ``distance``, ``similarity``, ``probability``, ``count``, ``label`` or ``value``.
    units : str
        Its unit; ``1`` for a pure number.
    text : str
        What it is, in one sentence.
    """

    dims: str
    kind: str
    units: str
    text: str


VARIABLES: dict[str, Variable] = {
    "representation": Variable(
        "model stimulus feature", "value", "as given", "vectors of every model for every stimulus"
    ),
    "n_features": Variable("model", "count", "features", "leading features that are real"),
    "n_models": Variable("stimulus", "count", "models", "models that saw the stimulus"),
    "n_repeats": Variable("stimulus", "count", "rows", "rows that were averaged"),
    "dispersion": Variable(
        "stimulus", "distance", "1", "how differently the models represent the stimulus"
    ),
    "bin": Variable("stimulus", "label", "1", "quantile bin of dispersion, 0 = lowest"),
    "duplicates": Variable("stimulus", "label", "1", "first label of the near-duplicates"),
    "local_density": Variable(
        "model stimulus", "similarity", "1", "mean cosine to the nearest neighbours"
    ),
    "neighbor_graph": Variable(
        "model stimulus neighbor", "", "1", "positions of the nearest neighbours"
    ),
    "shared_neighbor": Variable(
        "stimulus rank", "label", "label", "neighbours that most models agree on, these first"
    ),
    "share": Variable(
        "stimulus rank", "similarity", "1", "models among whose nearest neighbours it is"
    ),
    "recall": Variable("model", "similarity", "1", "exact neighbours that an index found"),
    "stimulus_norm": Variable(
        "model stimulus", "value", "as given", "Euclidean norm of the stimulus's vector"
    ),
    "neighbors": Variable(
        "model stimulus neighbor", "label", "position", "nearest neighbours, nearest first"
    ),
    "alignment": Variable(
        "model_a model_b stimulus", "similarity", "1", "agreement of two models on the stimulus"
    ),
    "rdm": Variable(
        "model stimulus stimulus_2", "distance", "1", "representational dissimilarity matrix"
    ),
    "rsa": Variable("model_a model_b", "similarity", "1", "similarity of two RDMs"),
    "rsa_corrected": Variable(
        "bin model_a", "similarity", "1", "RSA as it would be without measurement noise"
    ),
    "rsa_corrected_standard_error": Variable("bin model_a", "value", "1", "its jackknife error"),
    "rsa_corrected_lower": Variable("bin model_a", "similarity", "1", "lower end of its interval"),
    "rsa_corrected_upper": Variable("bin model_a", "similarity", "1", "upper end of its interval"),
    "trend_corrected": Variable(
        "model_a model_b", "value", "1", "slope of the corrected RSA per bin"
    ),
    "trend_corrected_standard_error": Variable(
        "model_a model_b", "value", "1", "its jackknife error"
    ),
    "trend_corrected_lower": Variable("model_a model_b", "value", "1", "lower end of its interval"),
    "trend_corrected_upper": Variable("model_a model_b", "value", "1", "upper end of its interval"),
    "trend_corrected_p_value": Variable(
        "model_a model_b", "value", "1", "p-value of no difference of these bins"
    ),
    "mean_trend_corrected": Variable("", "value", "1", "its mean over pairs"),
    "mean_trend_corrected_standard_error": Variable("", "value", "1", "error of the mean"),
    "mean_trend_corrected_lower": Variable(
        "", "value", "1", "lower end of the interval of the mean"
    ),
    "mean_trend_corrected_upper": Variable(
        "", "value", "1", "upper end of the interval of the mean"
    ),
    "low_minus_high_corrected": Variable(
        "model_a model_b", "value", "1", "corrected RSA of the lowest bin less that of the highest"
    ),
    "low_minus_high_corrected_standard_error": Variable(
        "model_a model_b", "value", "1", "its jackknife error"
    ),
    "low_minus_high_corrected_lower": Variable(
        "model_a model_b", "value", "1", "lower end of its interval"
    ),
    "low_minus_high_corrected_upper": Variable(
        "model_a model_b", "value", "1", "upper end of its interval"
    ),
    "low_minus_high_corrected_p_value": Variable(
        "model_a model_b", "value", "1", "p-value of no difference of these bins"
    ),
    "mean_low_minus_high_corrected": Variable("", "value", "1", "its mean over pairs"),
    "mean_low_minus_high_corrected_standard_error": Variable("", "value", "1", "error of the mean"),
    "mean_low_minus_high_corrected_lower": Variable(
        "", "value", "1", "lower end of the interval of the mean"
    ),
    "mean_low_minus_high_corrected_upper": Variable(
        "", "value", "1", "upper end of the interval of the mean"
    ),
    "split_half": Variable(
        "bin", "similarity", "1", "correlation of the RDMs of both halves of the repetitions"
    ),
    "ceiling": Variable("bin", "similarity", "1", "RSA of a true model without noise"),
    "trial_ceiling": Variable(
        "model subset", "similarity", "1", "RSA of a true model without noise"
    ),
    "aligned": Variable(
        "model stimulus component", "value", "Frobenius norm of a model", "shared-space coordinates"
    ),
    "consensus": Variable(
        "stimulus component", "value", "Frobenius norm of a model", "mean of the aligned models"
    ),
    "residual": Variable(
        "model stimulus", "distance", "Frobenius norm of a model", "distance from the consensus"
    ),
    "rotation": Variable(
        "model feature component", "value", "1", "orthonormal map from centred features"
    ),
    "shift": Variable(
        "model component", "value", "Frobenius norm of a model", "added after rotation"
    ),
    "scale": Variable("model", "value", "as given", "what the centred features were divided by"),
    "center": Variable("model feature", "value", "as given", "mean over the stimuli seen"),
    "objective": Variable(
        "iteration", "distance", "1", "sum of squared residuals after each iteration"
    ),
    "unexplained_heldout": Variable(
        "", "distance", "1", "residual over the sum of squares of stimuli that were not fitted"
    ),
    "unexplained": Variable("", "distance", "1", "objective over the models' sum of squares"),
    "lower": Variable("", "similarity", "1", "lower bound of the noise ceiling"),
    "upper": Variable("", "similarity", "1", "upper bound of the noise ceiling"),
    "correlation": Variable(
        "model_a model_b", "similarity", "1", "rank correlation of dispersion with alignment"
    ),
    "mean_correlation": Variable("", "similarity", "1", "mean over pairs of the correlation"),
    "mean_p_value": Variable("", "probability", "1", "permutation p-value of the mean"),
    "p_value": Variable("model_a model_b", "probability", "1", "permutation p-value"),
    "expected_correlation": Variable(
        "", "similarity", "1", "mean correlation that equal noise over this geometry makes"
    ),
    "equal_noise_p_value": Variable(
        "", "probability", "1", "p-value of the mean correlation against equal noise"
    ),
    "expected_by_rank": Variable(
        "space_rank", "similarity", "1", "expected correlation in spaces of other ranks"
    ),
    "equal_noise_p_by_rank": Variable(
        "space_rank", "probability", "1", "p-value against equal noise in spaces of other ranks"
    ),
    "excess": Variable("", "value", "1", "mean correlation less what equal noise makes"),
    "excess_lower": Variable("", "value", "1", "lower end of the excess, over draws of noise"),
    "excess_upper": Variable("", "value", "1", "upper end of the excess, over draws of noise"),
    "t_alignment": Variable(
        "model_a model_b", "value", "1", "t of alignment on dispersion, in its mixed model"
    ),
    "t_dispersion": Variable(
        "model_a model_b", "value", "1", "t of dispersion on alignment, in its mixed model"
    ),
    "p_value_alignment": Variable("model_a model_b", "probability", "1", "p-value of t_alignment"),
    "p_value_dispersion": Variable(
        "model_a model_b", "probability", "1", "p-value of t_dispersion"
    ),
    "n_effective": Variable(
        "model_a model_b", "value", "stimuli", "independent stimuli that two maps are worth"
    ),
    "moran_i": Variable(
        "model_a model_b", "value", "1", "Moran's I of alignment: alike at near stimuli"
    ),
    "dispersion_moran_i": Variable("", "value", "1", "Moran's I of dispersion"),
    "score": Variable("subset pool", "similarity", "1", "mean alignment of the subset"),
    "random_mean": Variable(
        "control subset pool", "similarity", "1", "mean alignment of random subsets"
    ),
    "random_lower": Variable(
        "control subset pool", "similarity", "1", "lower quantile over random subsets"
    ),
    "random_upper": Variable(
        "control subset pool", "similarity", "1", "upper quantile over random subsets"
    ),
    "p_value_greater": Variable(
        "control subset pool", "probability", "1", "random subsets that align as well or better"
    ),
    "p_value_less": Variable(
        "control subset pool", "probability", "1", "random subsets that align as badly or worse"
    ),
    "half_correlation": Variable("", "similarity", "1", "rank correlation of two halves"),
    "reliability": Variable("", "similarity", "1", "Spearman-Brown reliability of the whole"),
    "trend": Variable("model_a model_b", "value", "per bin", "slope of RSA over dispersion bins"),
    "trend_p_value": Variable("model_a model_b", "probability", "1", "p-value of the trend"),
    "low_minus_high": Variable("", "value", "1", "lowest less highest dispersion"),
    "low_minus_high_p_value": Variable("", "probability", "1", "p-value of low less high"),
    **{
        f"{name}_p_value_{ending}": Variable("model_a model_b", "probability", "1", text)
        for name in ("trend", "low_minus_high")
        for ending, text in (
            ("bh", "false discovery rate, Benjamini & Hochberg (1995)"),
            ("by", "false discovery rate, Benjamini & Yekutieli (2001)"),
            ("max_t", "family-wise error, max-T, Westfall & Young (1993)"),
        )
    },
    "k": Variable("pool_size neighbors", "count", "neighbours", "neighbours of each stimulus"),
    "standard_deviation": Variable("pool_size neighbors", "value", "1", "deviation over pools"),
    "estimate": Variable("model_a model_b", "similarity", "1", "score of all stimuli and models"),
    "standard_error": Variable("model_a model_b", "value", "1", "standard error of the estimate"),
    "chance": Variable("model_a model_b", "similarity", "1", "mean score under permutation"),
    "corrected": Variable(
        "model_a model_b", "similarity", "1", "(score - chance) / (best - chance): 0 at chance"
    ),
    "threshold": Variable(
        "model_a model_b", "similarity", "1", "score that permutations exceed at rate alpha"
    ),
    "calibrated": Variable(
        "model_a model_b", "similarity", "1", "(score - threshold) / (best - threshold)"
    ),
    "p_value_bh": Variable(
        "model_a model_b", "probability", "1", "false discovery rate, Benjamini & Hochberg (1995)"
    ),
    "p_value_by": Variable(
        "model_a model_b", "probability", "1", "false discovery rate, Benjamini & Yekutieli (2001)"
    ),
    "p_value_max_t": Variable(
        "model_a model_b", "probability", "1", "family-wise error, max-T, Westfall & Young (1993)"
    ),
    "p_value_cluster": Variable(
        "model_a model_b time", "probability", "1", "family-wise error of clusters of bins in a row"
    ),
    "onset": Variable("model_a model_b", "value", "as time", "first significant bin in time"),
    "peak": Variable(
        "model_a model_b", "value", "as time", "significant bin of the most extreme score"
    ),
    "n_significant": Variable("model_a model_b", "count", "bins", "significant bins in time"),
    "mean_trend": Variable("", "value", "1", "mean over pairs of the trend"),
    "mean_trend_standard_error": Variable(
        "", "value", "1", "standard error of the mean trend, over stimuli and models"
    ),
    "mean_trend_lower": Variable(
        "", "value", "1", "lower end of the mean trend, over stimuli and models"
    ),
    "mean_trend_upper": Variable(
        "", "value", "1", "upper end of the mean trend, over stimuli and models"
    ),
    "mean_low_minus_high": Variable(
        "", "value", "1", "mean over pairs of the low bin less high bin"
    ),
    "mean_low_minus_high_standard_error": Variable(
        "",
        "value",
        "1",
        "standard error of the mean low bin less high bin, over stimuli and models",
    ),
    "mean_low_minus_high_lower": Variable(
        "", "value", "1", "lower end of the mean low bin less high bin, over stimuli and models"
    ),
    "mean_low_minus_high_upper": Variable(
        "", "value", "1", "upper end of the mean low bin less high bin, over stimuli and models"
    ),
    "low_minus_high_standard_error": Variable(
        "pool", "value", "1", "standard error of the contrast, over stimuli and models"
    ),
    "low_minus_high_lower": Variable(
        "pool", "value", "1", "lower end of the contrast, over stimuli and models"
    ),
    "low_minus_high_upper": Variable(
        "pool", "value", "1", "upper end of the contrast, over stimuli and models"
    ),
    "gain_p_value_bh": Variable("subset", "probability", "1", "false discovery rate of the gain"),
    "gain_p_value_by": Variable(
        "subset", "probability", "1", "false discovery rate of the gain, any dependence"
    ),
    "gain_p_value_max_t": Variable("subset", "probability", "1", "family-wise error of the gain"),
    "mean_p_value_bh": Variable("time", "probability", "1", "false discovery rate of the means"),
    "mean_p_value_by": Variable(
        "time", "probability", "1", "false discovery rate of the means, under any dependence"
    ),
    "mean_p_value_max_t": Variable("time", "probability", "1", "family-wise error of the means"),
    "mean_p_value_cluster": Variable(
        "time", "probability", "1", "family-wise error of clusters of means in a row"
    ),
    "mean_correlation_standard_error": Variable(
        "", "value", "1", "standard error of the mean correlation, over stimuli and models"
    ),
    "mean_correlation_lower": Variable(
        "", "value", "1", "lower end of its interval, over stimuli and models"
    ),
    "mean_correlation_upper": Variable(
        "", "value", "1", "upper end of its interval, over stimuli and models"
    ),
    "n_stimuli": Variable("bin", "count", "stimuli", "stimuli that entered"),
    "n_subjects": Variable("", "count", "subjects", "subjects that entered"),
    "n_repetitions": Variable("", "count", "repetitions", "repetitions that entered"),
    "alignment_by_bin": Variable(
        "model_a model_b bin", "similarity", "1", "mean alignment inside a dispersion bin"
    ),
    "dispersion_by_bin": Variable("bin", "distance", "1", "mean dispersion inside a bin"),
    "evaluation": Variable("model draw", "similarity", "1", "scores that the estimate is made of"),
    "ceiling_p_value": Variable(
        "model", "probability", "1", "p-value of a score below the noise ceiling"
    ),
    "feature_score": Variable(
        "feature", "similarity", "1", "how well a feature of the target is predicted"
    ),
    "rank": Variable("", "label", "1", "place among all that were compared, 1 the first"),
    "among_best": Variable("model subset", "label", "1", "no model is significantly better"),
    "best": Variable("subset", "label", "1", "the model of the highest score"),
    "best_rsa_heldout": Variable(
        "subset", "similarity", "1", "score, on one half of the stimuli, of the best on the other"
    ),
    "ceiling_lower": Variable(
        "model subset", "similarity", "1", "lower noise ceiling of the model's stimuli"
    ),
    "ceiling_upper": Variable(
        "model subset", "similarity", "1", "upper noise ceiling of the model's stimuli"
    ),
    "difference": Variable("model model_2 subset", "value", "1", "score of model less model_2"),
    "difference_p_value": Variable(
        "model model_2 subset", "probability", "1", "two-sided p-value of the difference"
    ),
    "difference_p_value_max_t": Variable(
        "model model_2 subset", "probability", "1", "the same, corrected for all pairs of models"
    ),
    "layer_share": Variable("layer", "value", "1", "how often the layer was its network's choice"),
    "agreement_by_subset": Variable(
        "model subset", "similarity", "1", "mean agreement with the other modality"
    ),
    "gain": Variable("subset", "value", "1", "correlation less that over all stimuli"),
    "gain_lower": Variable("subset", "value", "1", "lower end of the gain, over models"),
    "gain_upper": Variable("subset", "value", "1", "upper end of the gain, over models"),
    "gain_p_value": Variable(
        "subset", "probability", "1", "p-value of the gain against random subsets"
    ),
    "random_correlation": Variable(
        "subset", "similarity", "1", "mean correlation of random subsets of the same size"
    ),
    "residual_component": Variable(
        "stimulus", "value", "as given", "first principal component of the models' residuals"
    ),
    "value": Variable("stimulus", "value", "as given", "what the stimuli were chosen by"),
    "mean_rank": Variable("stimulus", "value", "stimuli", "mean rank over the criteria"),
    "reason": Variable("stimulus", "label", "1", "why the stimulus was chosen"),
    "chosen_by": Variable(
        "criterion stimulus", "label", "1", "whether the criterion alone chooses the stimulus too"
    ),
    "overlap": Variable(
        "criterion criterion_2", "similarity", "1", "share of stimuli that both criteria choose"
    ),
    "stability": Variable(
        "stimulus", "similarity", "1", "share of sets, models left out, that hold the stimulus"
    ),
    "overlap_without": Variable(
        "model", "similarity", "1", "share of the set that stays without the models"
    ),
    "contribution": Variable(
        "stimulus", "value", "1", "agreement of the set less that of the set without the stimulus"
    ),
    "agreement": Variable(
        "", "similarity", "1", "mean correlation of two models' RDMs inside the set"
    ),
    "agreement_of_start": Variable("", "similarity", "1", "agreement of the set it started from"),
    "agreement_of_random": Variable("", "similarity", "1", "mean agreement of random sets"),
    "agreement_heldout": Variable(
        "model", "similarity", "1", "of left-out models with the others, in the set of the others"
    ),
    "agreement_heldout_of_random": Variable(
        "model", "similarity", "1", "of left-out models with the others, mean over random sets"
    ),
    "n_exchanges": Variable(
        "", "count", "exchanges", "members that all local searches gave for a better one"
    ),
}


def describe(array: xr.DataArray, name: str, **parameters: Any) -> xr.DataArray:
    """Name a result and write down what it is: meaning, kind, units, parameters, version."""
    row = VARIABLES[name]
    array = set_aside(array, [name]).rename(name)
    array.attrs = {
        "long_name": row.text,
        "kind": row.kind,
        "units": row.units,
        **stated(**parameters),
    }
    return array


def stated(**parameters: Any) -> dict[str, Any]:
    """The attrs of a result: its parameters, but for those that are None, and the version."""
    from xconverge import __version__

    given = {key: value for key, value in parameters.items() if value is not None}
    return {**given, "xconverge_version": __version__}


def described(variables: Mapping[str, xr.DataArray], **parameters: Any) -> xr.Dataset:
    """Results of one call, each described; the Dataset says the parameters too."""
    return dataset_of(
        {name: describe(array, name, **parameters) for name, array in variables.items()},
        **parameters,
    )


def dataset_of(variables: Mapping[str, xr.DataArray], **parameters: Any) -> xr.Dataset:
    """One Dataset of results that are described; coordinates give way to its variables and dims."""
    return named(variables).assign_attrs(stated(**parameters))


def named(variables: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """One Dataset of arrays whose coordinates give way to its variables and dims."""
    names = {*variables, *(dim for array in variables.values() for dim in array.dims)}
    return xr.Dataset({name: set_aside(array, names) for name, array in variables.items()})
