"""What a study found, in sentences with numbers, and the controls beside each."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xconverge.plot.inputs import USUAL, chance_of
from xconverge.report.tables import needed, number, p_text, rsa_of, sides, target_of

HEADLINE = USUAL
"""The dispersion that sentences are about: it needs no common axes and no norm."""

LITTLE = 0.1
"""The correlation of halves below which noise correction is refused, too."""


def findings(study: xr.DataTree) -> list[str]:
    """What a study found, a sentence or two each, with its numbers.

    Parameters
    ----------
    study : DataTree
        What ``analyze`` returns, or ``open_store`` opens of it.

    Returns
    -------
    list of str
        First what may be said (``attrs["conclusion"]``), where the study can tell.

    Raises
    ------
    SchemaError
        This is no study.

    Examples
    --------
    >>> from xconverge import analyze
    >>> from xconverge.testing import planted_study
    >>> study = analyze(planted_study(3, 60, rng=0), n_permutations=19, rng=0)
    >>> findings(study)[1].split(" (")[0]
    'Stimuli on which vision models agree align better with language models'
    """
    found = [_conclusion(study), _by_bin(study), _correlation(study)]
    if "equal_noise" in study.children:
        found.append(_excess(study))
    if "rsa" in study.children:
        found.append(_rsa(study))
    return found


def _conclusion(study: xr.DataTree) -> str:
    told = study.attrs.get("conclusion")
    if told:
        text = str(told)
        return text[:1].upper() + text[1:].rstrip(".") + "."
    one, _ = sides(study)
    return (
        "This study cannot say whether more than geometry and equal noise is at work: that takes "
        f"at least four {one} models and n_equal_noise draws, 199 say."
    )


def _by_bin(study: xr.DataTree) -> str:
    effect = needed(study, "modulation").sel(control="none", measure=HEADLINE)
    means = effect["alignment_by_bin_of_mean"].values
    there = means[np.isfinite(means)]
    one, other = sides(study)
    if len(there) < 2:
        return (
            f"Dispersion of {one} models takes too few values for bins: nothing can be said of "
            "alignment by bin."
        )
    low, high = float(there[0]), float(there[-1])
    level = chance_of(needed(study, "alignment")["mutual_knn"])
    chance = f"; unrelated models share {level:.4f}" if np.isfinite(level) else ""
    word = "better" if low > high else "worse" if low < high else "as well as others"
    times = f", {low / high:.1f} times as much" if low > high > 0 else ""
    return (
        f"Stimuli on which {one} models agree align {word} with {other} models (as it is, before "
        f"any control): in the bin of lowest dispersion a stimulus shares {number(low)} of its "
        f"{study.attrs.get('k')} nearest neighbours across modalities, in the highest "
        f"{number(high)}{times}{chance}."
    )


def _correlation(study: xr.DataTree) -> str:
    effect = needed(study, "modulation").sel(measure=HEADLINE)

    def told(control: str) -> str:
        one = effect.sel(control=control)
        return (
            f"{number(float(one['correlation_of_mean']), True)} "
            f"(p = {p_text(float(one['p_value_of_mean']))})"
        )

    independent = effect.sel(control="none")
    return (
        f"The rank correlation of neighbourhood dispersion with alignment is {told('none')}; given "
        f"how crowded the neighbourhood of each stimulus is {told('local_density')}, and given "
        f"crowding and norm {told('both')}. The {int(independent['n_stimuli_of_mean'])} stimuli "
        f"are worth about {float(independent['n_effective_of_mean']):.0f} independent ones."
    )


def _excess(study: xr.DataTree) -> str:
    told = needed(study, "equal_noise")
    ends = [number(float(told[f"excess_{end}"]), True) for end in ("lower", "upper")]
    return (
        f"With each model left out of its dispersion, and given crowding, the mean rank "
        f"correlation is {number(float(told['mean_correlation']), True)}. Models with equal noise "
        f"at every stimulus would show {number(float(told['expected_correlation']), True)}. The "
        f"excess is {number(float(told['excess']), True)} (95 % interval {ends[0]} to {ends[1]}, "
        f"p = {p_text(float(told['equal_noise_p_value']))})."
    )


def _rsa(study: xr.DataTree) -> str:
    told = rsa_of(study)
    values = told["rsa_of_mean_by_bin"].values
    p_values = told["p_value_of_mean_by_bin"].values
    parts = [
        f"{number(float(value), True)} ({f'p = {p_text(p)}, ' if p == p else ''}{int(n)} stimuli)"
        for value, p, n in zip(values, p_values, told["n_stimuli"].values, strict=True)
    ]
    method = str(told.attrs.get("metric", "spearman")).capitalize()
    text = (
        f"RSA of the models' mean RDM with {target_of(study)}, {method}'s correlation, from low to "
        f"high dispersion: {', '.join(parts)}."
    )
    if "split_half" in told and told["split_half"].dims == ("bin",):
        agree = told["split_half"].values
        halves = ", ".join(number(float(r), True) for r in agree)
        text += f" Distances of the halves of its repetitions correlate by {halves}."
        if not np.any(agree >= LITTLE):
            text += (
                " Repetitions that agree so little say next to nothing of the target: are its "
                "trials those of the stimuli that they are labelled with?"
            )
    if "rsa_corrected_of_mean" in told and told["rsa_corrected_of_mean"].dims == ("bin",):
        clean = ", ".join(number(float(v), True) for v in told["rsa_corrected_of_mean"].values)
        return f"{text} Without measurement noise: {clean} (— where it cannot be told)."
    return (
        f"{text} How much of a difference between bins is measurement noise cannot be told without "
        "trials of four independent repetitions."
    )
