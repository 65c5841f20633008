"""Outputs of encoders, as tensors and with labels; torch is imported when it is asked for."""

import numpy as np

import xconverge as xc
from tests.helpers import make_reps


def tensors(reps, dtype=None):
    """Outputs of every model, without the padding."""
    import torch

    width = reps.coords.get("n_features", np.full(reps.sizes["model"], reps.sizes["feature"]))
    return [
        torch.tensor(rows[:, : int(w)], dtype=dtype)
        for rows, w in zip(reps.values, np.asarray(width), strict=True)
    ]


def labelled(several):
    """The same rows with labels."""
    names = {f"net{m}": rows.double().numpy() for m, rows in enumerate(several)}
    reps = xc.stack_models(names, stimuli=[f"s{i}" for i in range(len(several[0]))])
    return reps.assign_attrs(space="shared")


def outputs(n=9, widths=(5, 3, 4), seed=0):
    """The same with gradients."""
    import torch

    reps = make_reps(len(widths), n, list(widths), seed)
    return [
        torch.tensor(rows[:, :w], requires_grad=True)
        for rows, w in zip(reps.values, widths, strict=True)
    ]
