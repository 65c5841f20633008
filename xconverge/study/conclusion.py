"""What may be said of an effect of dispersion on alignment, by two tests that see different things.

Mixed models ask whether maps go together beyond being smooth or alike inside categories; equal
noise asks whether the effect is more than the geometry of the stimuli makes by itself.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

LEVEL = 0.05
UNKNOWN = "not said: "
VERDICTS = {
    (True, True): (
        "dispersion and alignment go together, beyond smoothness and beyond what equal noise over "
        "this geometry makes"
    ),
    (True, False): (
        "dispersion and alignment go together beyond smoothness, but no more than equal noise over "
        "this geometry makes"
    ),
    (False, True): (
        "dispersion and alignment go together more than equal noise makes, but no more than maps "
        "that are merely smooth"
    ),
    (False, False): "that dispersion and alignment go together is not shown",
}
"""By whether the p of the mixed models, and that of equal noise, is at most LEVEL."""


def conclusion(table: xr.Dataset) -> str:
    """One sentence with its figures, of what ``leave_out_modulation`` with equal noise returned.

    Parameters
    ----------
    table : Dataset
        With ``mean_correlation`` and ``mean_p_value`` of mixed models, ``expected_correlation``,
        ``excess``, ``excess_lower``, ``excess_upper`` and ``equal_noise_p_value``, all of no dim.
    """
    if table.attrs.get("null") not in ("mixed", "surrogates"):
        return UNKNOWN + "stimulus labels were permuted, and stimuli are not exchangeable"
    draws = int(table["equal_noise_p_value"].attrs["n_equal_noise"])
    if LEVEL * (1 + draws) < 1:
        return UNKNOWN + f"{draws} draws of equal noise are too few for p to reach {LEVEL:g}"
    observed, p_structure, expected, p_noise, excess, lower, upper = (
        float(table[name])
        for name in (
            "mean_correlation", "mean_p_value", "expected_correlation", "equal_noise_p_value",
            "excess", "excess_lower", "excess_upper",
        )
    )  # fmt: skip
    if np.isnan([p_structure, p_noise]).any():
        return UNKNOWN + "a p-value could not be computed, see the warnings"
    verdict = VERDICTS[p_structure <= LEVEL, p_noise <= LEVEL]
    return (
        f"{verdict}: mean correlation {observed:+.2f} (mixed models p {_told(p_structure)}), "
        f"expected of equal noise {expected:+.2f}, excess {excess:+.2f} "
        f"[{lower:+.2f}, {upper:+.2f}] (p {_told(p_noise)})"
    )


def _told(p: float) -> str:
    return f"= {p:.3f}" if p >= 0.001 else "< 0.001"
