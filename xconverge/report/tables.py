"""Tables of a study, as text: the terminal and the page show the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from xconverge.labels.messages import SchemaError
from xconverge.plot.inputs import chance_of
from xconverge.study.bins import bin_labels

CONTROLS = {
    "none": "as it is",
    "norm": "given norm",
    "local_density": "given density",
    "both": "given both",
}
MEASURES = {
    "consensus": "consensus / norm",
    "consensus_raw": "consensus",
    "neighborhood": "neighbourhood",
    "rdm": "RDM rows",
}


class Table(NamedTuple):
    """Rows of text under names of columns; the first column says what a row is of."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def group_of(study: xr.DataTree, name: str) -> xr.Dataset | None:
    """The group of a study as a Dataset, or None where it has none."""
    return study[name].to_dataset() if name in study.children else None


def needed(study: xr.DataTree, name: str) -> xr.Dataset:
    """A group that every study of ``analyze`` has."""
    found = group_of(study, name)
    if found is None:
        raise SchemaError(
            f"the study has no group {name!r}, it has {list(study.children)}; give what "
            "xconverge.analyze(…) returns, or what open_store opens of it"
        )
    return found


def models(study: xr.DataTree, side: str) -> str:
    """How many models a side has, ``a`` or ``b``, and of how many networks they are layers."""
    coords = needed(study, "alignment").coords
    name = sides(study)["ab".index(side)]
    count = coords[f"model_{side}"].size
    text = f"{count} {name} models"
    if f"network_{side}" in coords:
        networks = len(set(coords[f"network_{side}"].values.tolist()))
        if networks < count:
            text += f" (layers of {networks} networks, each of which counts once)"
    return text


def rsa_of(study: xr.DataTree) -> xr.Dataset:
    """RSA with the target over bins and models: the mean over subjects and what else there is.

    A mean has no p-value of its own: those are NaN. ``attrs["mean_over"]`` says what it is of.
    """
    told = needed(study, "rsa")
    extra = [str(dim) for dim in told.dims if dim not in ("bin", "model_a")]
    over = [dim for dim in extra if told.sizes[dim] > 1]
    told = told.squeeze([dim for dim in extra if dim not in over], drop=True)
    if not over:
        return told
    mean = told.mean(over, keep_attrs=True)
    for name, one in told.data_vars.items():
        if str(name).startswith("p_value") and set(over) & set(one.dims):
            mean[name] = xr.full_like(mean[name], np.nan)
    # what permutations of one subject reach, those of a mean do not
    mean = mean.drop_vars([n for n in mean.data_vars if str(n).startswith(("chance", "threshold"))])
    return mean.assign_attrs(mean_over=", ".join(f"{told.sizes[dim]} {dim}" for dim in over))


def target_of(study: xr.DataTree) -> str:
    """What the target is called, and what the mean is over."""
    told = rsa_of(study)
    name = str(study.attrs.get("target", "the target"))
    over = told.attrs.get("mean_over")
    return f"{name} (mean over {over})" if over else name


def p_text(p: float) -> str:
    """A p-value as papers write it."""
    if not np.isfinite(p):
        return "—"
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}"


def number(value: float, sign: bool = False) -> str:
    """A number with three decimals; a dash where there is none."""
    if not np.isfinite(value):
        return "—"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def sides(study: xr.DataTree) -> tuple[str, str]:
    """What the modalities are called: whose dispersion it is, and the other."""
    return str(study.attrs.get("modality", "modality")), str(study.attrs.get("other", "other"))


def tables(study: xr.DataTree) -> list[Table]:
    """All tables of a study, those that it has the groups for.

    Parameters
    ----------
    study : DataTree
        What ``analyze`` returns, or ``open_store`` opens of it.

    Returns
    -------
    list of Table
        Of text: ``title``, ``columns``, ``rows`` and ``note``.

    Raises
    ------
    SchemaError
        This is no study.

    Examples
    --------
    >>> from xconverge import analyze
    >>> from xconverge.testing import planted_study
    >>> study = analyze(planted_study(3, 60, rng=0), n_permutations=19, rng=0)
    >>> [table.title for table in tables(study)][0]
    'Mean mutual-kNN of vision with language models'
    """
    made = [of_alignment(study), of_modulation(study), of_bins(study)]
    if "equal_noise" in study.children:
        made.append(of_equal_noise(study))
    if "leave_out" in study.children:
        made.append(of_left_out(study))
    if "rsa" in study.children:
        made.append(of_rsa(study))
    return made


def of_alignment(study: xr.DataTree) -> Table:
    """Mean alignment of each pair of models."""
    scores = needed(study, "alignment")["mutual_knn"]
    means = scores.mean([dim for dim in scores.dims if dim not in ("model_a", "model_b")])
    means = means.transpose("model_a", "model_b")
    one, other = sides(study)
    chance = chance_of(scores)
    beside = f", chance {chance:.4f}" if np.isfinite(chance) else ""
    return Table(
        f"Mean mutual-kNN of {one} with {other} models",
        [f"{one} model", *(str(name) for name in means["model_b"].values)],
        [
            [str(name), *(number(value) for value in row)]
            for name, row in zip(means["model_a"].values, means.values, strict=True)
        ],
        f"The share of the {scores.attrs.get('k', study.attrs.get('k'))} nearest neighbours of a "
        f"stimulus that both models have in common{beside}; mean over stimuli.",
    )


def of_modulation(study: xr.DataTree) -> Table:
    """Rank correlations of dispersion with alignment, and their p-values."""
    effect = needed(study, "modulation")
    controls = [str(name) for name in effect["control"].values]
    rows = []
    for measure in effect["measure"].values:
        one = effect.sel(measure=measure)
        cells = [
            cell
            for name in controls
            for cell in (
                number(float(one["correlation_of_mean"].sel(control=name)), True),
                p_text(float(one["p_value_of_mean"].sel(control=name))),
            )
        ]
        rows.append([MEASURES.get(str(measure), str(measure)), *cells])
    names = [CONTROLS.get(name, name) for name in controls]
    return Table(
        "Does dispersion go with alignment? Rank correlation, p",
        ["dispersion", *(column for name in names for column in (name, f"p {name}"))],
        rows,
        "Spearman's correlation over stimuli of dispersion with mean alignment, and its p-value "
        "from mixed models that know which stimuli are alike. The further columns partial out the "
        "norm of the stimulus, how crowded its neighbourhood is (density), or both. Distance to "
        "the consensus is shown as it is and divided by the norm.",
    )


def of_bins(study: xr.DataTree) -> Table:
    """Mean alignment in each bin of dispersion."""
    effect = needed(study, "modulation").sel(control="none")
    rows = [
        [
            MEASURES.get(str(name), str(name)),
            *map(number, effect["alignment_by_bin_of_mean"].sel(measure=name).values),
        ]
        for name in effect["measure"].values
    ]
    return Table(
        "Mean alignment by bin of dispersion, low to high",
        ["dispersion", *bin_labels(effect.sizes["bin"])],
        rows,
    )


def of_equal_noise(study: xr.DataTree) -> Table:
    """The observed correlation beside that of models with equal noise at every stimulus."""
    told = needed(study, "equal_noise")

    def interval(name: str) -> str:
        ends = [float(told[f"{name}_{end}"]) for end in ("lower", "upper")]
        return " to ".join(number(end, True) for end in ends) if np.isfinite(ends).all() else "—"

    return Table(
        "Is the effect real? Dispersion of the other models, given local density",
        ["mean rank correlation", "value", "95 % interval", "p"],
        [
            ["observed", number(float(told["mean_correlation"]), True),
             interval("mean_correlation"), p_text(float(told["mean_p_value"]))],
            ["expected if noise were equal", number(float(told["expected_correlation"]), True),
             "", ""],
            ["excess", number(float(told["excess"]), True), interval("excess"),
             p_text(float(told["equal_noise_p_value"]))],
        ],
        "Models that are their consensus plus equally much noise at every stimulus show a "
        "correlation too, from geometry alone. The claim is about what exceeds it.",
    )  # fmt: skip


def of_left_out(study: xr.DataTree) -> Table:
    """The correlation of each model, whose own dispersion it does not enter."""
    told = needed(study, "leave_out")
    found = told["correlation"]
    found = found.mean([dim for dim in found.dims if dim not in ("model_a", "control")])
    found = found.transpose("model_a", "control")
    controls = [str(name) for name in found["control"].values]
    return Table(
        "Each model left out of its dispersion",
        ["model", *(CONTROLS.get(name, name) for name in controls)],
        [
            [str(name), *(number(value, True) for value in row)]
            for name, row in zip(found["model_a"].values, found.values, strict=True)
        ],
        "Spearman's correlation of the dispersion of the other models with this model's "
        "alignment, mean over the models of the other modality.",
    )


def of_rsa(study: xr.DataTree) -> Table:
    """RSA with the target, over all stimuli and by bin of dispersion."""
    told = rsa_of(study)
    counts = told["n_stimuli"].values
    bins = [f"{name} ({n})" for name, n in zip(bin_labels(len(counts)), counts, strict=True)]
    each, whole = told["rsa_by_bin"].transpose("model_a", "bin"), told["rsa"]
    rows = [
        [str(name), *(number(value, True) for value in (float(whole.sel(model_a=name)), *row))]
        for name, row in zip(each["model_a"].values, each.values, strict=True)
    ]

    def line(name: str, what: str, text: Callable[[float], str]) -> None:
        if name in told and told[name].dims == ("bin",):
            rows.append([what, "", *map(text, told[name].values)])

    line("rsa_of_mean_by_bin", "mean RDM of the models", lambda v: number(v, True))
    line("p_value_of_mean_by_bin", "its p-value", p_text)
    line("ceiling", "ceiling of the noise", lambda v: number(v, True))
    line("rsa_corrected_of_mean", "mean RDM, without noise", lambda v: number(v, True))
    return Table(
        f"RSA with {target_of(study)}, by bin of dispersion (stimuli)",
        ["model", "all stimuli", *bins],
        rows,
    )
