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


def planted_recording(
    n_models: int = 3,
    n_stimuli: int = 48,
    n_times: int = 30,
    n_sensors: int = 40,
    n_repetitions: int = 4,
    *,
    noise: float = 1.0,
    rng: np.random.Generator | int | None = None,
) -> dict[str, xr.DataArray]:
    """A recording in time of two stages, and models of each stage.

    Stimuli have ``early`` latents and ``late`` ones, which have nothing in common. Sensors see
    nothing but noise at first, the early ones from 50 to 150 ms, and then the late ones; models see
    one or the other. Some stimuli are dim: every model has more noise there, and the sensors
    less signal, so that dispersion foretells alignment as soon as there is any.

    Parameters
    ----------
    n_models : int
        Models of each stage.
    n_stimuli, n_times, n_sensors, n_repetitions : int
        Sizes of the recording; times go from -100 to 400 ms.
    noise : float
        Standard deviation of a sensor in one repetition, against a signal of about 1. It is smooth
        over time, and independent between repetitions.
    rng : Generator, int or None
        Source of everything random.

    Returns
    -------
    dict of str to DataArray
        ``early`` and ``late`` (model, stimulus, feature), with the true noise as the stimulus
        coordinate ``noise``; ``brain`` (repetition, time, stimulus, feature), times in seconds.

    Examples
    --------
    >>> study = planted_recording(n_times=6, rng=0)
    >>> study["brain"].dims, study["brain"]["time"].values.round(3).tolist()
    (('repetition', 'time', 'stimulus', 'feature'), [-0.1, 0.0, 0.1, 0.2, 0.3, 0.4])
    """
    seed, _ = seed_of(rng)
    rng = np.random.default_rng(seed)
    stimuli = [f"stimulus {i}" for i in range(n_stimuli)]
    size = rng.permutation(np.linspace(0.1, 2.0, n_stimuli))
    seconds = np.linspace(-0.1, 0.4, n_times)
    stages = {"early": (seconds >= 0.05) & (seconds < 0.15), "late": seconds >= 0.15}
    # neighbouring bins of real recordings share their noise
    near = np.exp(-(np.subtract.outer(seconds, seconds) ** 2) / (2 * 0.02**2))
    smooth = np.linalg.cholesky(near + 1e-6 * np.eye(n_times))
    jitter = rng.standard_normal((n_repetitions, n_times, n_stimuli * n_sensors))
    brain = noise * (smooth @ jitter).reshape(n_repetitions, n_times, n_stimuli, n_sensors)
    found = {}
    for stage, lasts in stages.items():
        latent = rng.standard_normal((n_stimuli, 5))
        basis = rng.standard_normal((5, n_sensors)) / np.sqrt(5)
        brain = brain + lasts[:, None, None] * (latent @ basis) / (1 + size[:, None] ** 2)
        models = {}
        for i in range(n_models):
            axes, _ = np.linalg.qr(rng.standard_normal((12 + i, 5)))
            seen = latent @ axes.T / np.sqrt(5)
            dim = rng.standard_normal(seen.shape) * size[:, None] / np.sqrt(12 + i)
            models[f"{stage} {i}"] = seen + dim
        found[stage] = (
            stack_models(models, stimuli=stimuli, modality="vision")
            .assign_coords(noise=("stimulus", size))
            .assign_attrs(seed=seed)
        )
    found["brain"] = xr.DataArray(
        brain,
        dims=("repetition", "time", "stimulus", "feature"),
        coords={
            "time": seconds,
            "stimulus": np.array(stimuli, dtype=object),
        },
        name="representation",
        attrs={"modality": "brain", "seed": seed},
    )
    return found
