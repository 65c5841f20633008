"""Synthetic sets whose truth is known by construction."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xconverge.engine.resampling import seed_of
from xconverge.labels.stack import stack_models


def planted_study(
    n_models: int = 4,
    n_stimuli: int = 120,
    n_latent: int = 6,
    *,
    noise: tuple[float, float] = (0.1, 2.0),
    rng: np.random.Generator | int | None = None,
) -> dict[str, xr.DataArray]:
    """Two modalities that see one latent space, some stimuli clearly and some dimly.

    Every model is a random rotation of the same latents into its own width, with noise whose
    size differs by stimulus and is shared by all models: stimuli with much of it have high
    dispersion and low alignment.

    Parameters
    ----------
    n_models : int
        Models of each modality.
    n_stimuli, n_latent : int
        Stimuli, and dimensions of what they share.
    noise : (float, float)
        Least and largest standard deviation of the noise, against latents of unit variance.
    rng : Generator, int or None
        Source of everything random.

    Returns
    -------
    dict of str to DataArray
        ``vision`` and ``language`` (model, stimulus, feature), with the true noise as the
        stimulus coordinate ``noise``; ``attrs["seed"]`` brings them back as ``rng``.

    Examples
    --------
    >>> study = planted_study(n_models=2, n_stimuli=10, rng=0)
    >>> study["vision"].sizes["model"], "noise" in study["vision"].coords
    (2, True)
    """
    seed, _ = seed_of(rng)
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n_stimuli, n_latent))
    # in random order: nothing may lean on the position of a stimulus
    size = rng.permutation(np.linspace(*noise, n_stimuli))
    stimuli = [f"stimulus {i}" for i in range(n_stimuli)]

    def network(width: int) -> NDArray[np.float64]:
        basis, _ = np.linalg.qr(rng.standard_normal((width, n_latent)))
        # rows of latents and of noise have length about 1 and ``size``, whatever the width
        jitter = rng.standard_normal((n_stimuli, width)) * size[:, None] / np.sqrt(width)
        return np.asarray(latent @ basis.T / np.sqrt(n_latent) + jitter)

    return {
        modality: stack_models(
            {f"{modality} {i}": network(2 * n_latent + i) for i in range(n_models)},
            stimuli=stimuli,
            modality=modality,
        )
        .assign_coords(noise=("stimulus", size))
        .assign_attrs(seed=seed)
        for modality in ("vision", "language")
    }
