"""The table of everything that ``xconverge import`` reads: a new kind is one row."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from xconverge.io.formats._padding import CHOICES as GAP_CHOICES
from xconverge.io.formats._presentations import CHOICES


@dataclass(frozen=True)
class Option:
    """A keyword of a reader, as ``--its-name`` on the command line.

    Parameters
    ----------
    text : str
        What it says, in one sentence.
    takes : {"text", "texts", "numbers", "each", "switch", "seconds", "window"}
        One text; several; several whole numbers; one for each source; nothing, which makes it
        True; a number of seconds; or two.
    choices : tuple of str, optional
        The only texts that it may be.
    """

    text: str
    takes: Literal["text", "texts", "numbers", "each", "switch", "seconds", "window"] = "text"
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Kind:
    """What one kind of source is, and who reads it.

    Parameters
    ----------
    reader : str
        ``module:function``, loaded when it is needed.
    text : str
        What the source is, in one sentence.
    options : dict of str to Option
        The keywords of the reader that the command line takes.
    gives : {"representations", "rdms"}
        What the reader returns.
    """

    reader: str
    text: str
    options: dict[str, Option]
    gives: Literal["representations", "rdms"] = "representations"

    def load(self) -> Any:
        """The reader."""
        module, function = self.reader.split(":")
        return getattr(import_module(module), function)


EACH = "; of several sources once for each"
MODEL = {"model": Option(f"name of the model; default that of the file or folder{EACH}", "each")}
IDS_FILE = "text file with one id a line, UTF-8, or FILE:COLUMN of a .csv or .tsv"
IDS = {"ids": Option(IDS_FILE)}
COLUMN = {
    "ids": Option(f"column with the ids, or {IDS_FILE}"),
    "features": Option("columns that are features; default all but the ids", "texts"),
}

VARIABLE = {"variable": Option("variable of the file to read; default the only one that fits")}
SHOWN = {
    "repetitions": Option(
        "several presentations of a stimulus: an error (the default), their mean, or kept apart",
        choices=CHOICES,
    )
}

TRIALS = {
    "repetition": Option("column that numbers the trials of a stimulus"),
    "repetitions": Option(
        "several trials of a stimulus: kept apart (the default), their mean, or an error",
        choices=CHOICES,
    ),
}

GAPS = {
    "gaps": Option(
        "features that are NaN in some rows only: an error (the default), or left out",
        choices=GAP_CHOICES,
    )
}

KINDS: dict[str, Kind] = {
    "npy": Kind(
        "xconverge.io.formats.arrays:read_npy",
        "a NumPy array (stimuli, features) of one model",
        {**IDS, **MODEL},
    ),
    "npz": Kind(
        "xconverge.io.formats.arrays:read_npz",
        "a NumPy archive: an array a model, or what write_npz wrote",
        {**IDS, **MODEL},
    ),
    "csv": Kind(
        "xconverge.io.formats.frames:read_csv",
        "a CSV table, one row a stimulus, of one model",
        {**COLUMN, "delimiter": Option("what stands between two cells; default a comma"), **MODEL},
    ),
    "parquet": Kind(
        "xconverge.io.formats.frames:read_parquet",
        "a Parquet table, one row a stimulus, of one model",
        {**COLUMN, **MODEL},
    ),
    "thingsvision": Kind(
        "xconverge.io.formats.thingsvision:read_thingsvision",
        "a folder of features that thingsvision wrote, or a folder of those",
        {
            "ids": Option(f"{IDS_FILE}; default file_names.txt"),
            "flatten": Option("make one vector of maps or tokens", "switch"),
            "strip_folder": Option("take folders away from the file names", "switch"),
            "strip_extension": Option("take the extension away from the file names", "switch"),
            **MODEL,
        },
    ),
    "platonic": Kind(
        "xconverge.io.formats.platonic:read_platonic",
        "a .pt feature file of platonic-rep, or a folder of them; each layer is a model",
        {
            **IDS,
            "layers": Option("layers to read, from 0; -1 is the last; default all", "numbers"),
            "pattern": Option("files of the folder to read; default '*.pt'"),
            **MODEL,
        },
    ),
    "brainio": Kind(
        "xconverge.io.formats.brainio:read_brainio",
        "a netCDF assembly of Brain-Score or BrainIO",
        {
            **VARIABLE,
            "region": Option("regions to read; default all", "texts"),
            **SHOWN,
            "stimulus_id": Option(
                "coordinate with the ids of the stimuli; default stimulus_id, or image_id"
            ),
            "by": Option("coordinates of the neuroids that make the models", "texts"),
            **GAPS,
            "model": Option(
                f"name of the only model; default the region, or the identifier{EACH}", "each"
            ),
        },
    ),
    "rsatoolbox": Kind(
        "xconverge.io.formats.rsatoolbox:read_rsatoolbox_dataset",
        "a Dataset or TemporalDataset that rsatoolbox saved as HDF5",
        {
            "stimulus": Option("observation descriptor with the ids; default stimulus"),
            **SHOWN,
            "model": Option(
                f"name of the model; default the descriptor model, then the file's{EACH}", "each"
            ),
        },
    ),
    "rsatoolbox-rdms": Kind(
        "xconverge.io.formats.rsatoolbox_rdms:read_rsatoolbox_rdms",
        "RDMs that rsatoolbox saved as HDF5",
        {
            "stimulus": Option("pattern descriptor with the ids of the stimuli; default stimulus"),
            "model": Option("RDM descriptor that names the models, or index; default model"),
        },
        "rdms",
    ),
    "allen": Kind(
        "xconverge.io.formats.allen:read_allen",
        "spike counts of AllenSDK in netCDF, with coordinates that say what was shown",
        {
            **VARIABLE,
            "stimulus": Option("coordinates that say which stimulus was shown", "texts"),
            **SHOWN,
            "by": Option("coordinates of the units that make the models", "texts"),
            **GAPS,
            "presentation": Option("dim of the presentations; default stimulus_presentation_id"),
            "unit": Option("dim of the units; default unit_id"),
            "model": Option(f"name of the only model; default that of the variable{EACH}", "each"),
        },
    ),
    "trials": Kind(
        "xconverge.io.formats.trials:read_trials",
        "responses trial by trial, .npy or .csv, and a table of what each trial showed",
        {
            "design": Option(
                "table of the trials, .csv or .tsv; default the columns of the source"
            ),
            "stimulus": Option("column with the ids of the stimuli; default stimulus_id"),
            "features": Option("columns of the source that are features", "texts"),
            **TRIALS,
            "subject": Option("column that says whose trial it is; default subject"),
            **GAPS,
            "join": Option(
                "subjects that saw other stimuli: exact (an error, the default), inner or outer",
                choices=("exact", "inner", "outer"),
            ),
            **MODEL,
        },
    ),
    "nwb": Kind(
        "xconverge.io.formats.nwb:read_nwb",
        "spikes of a file of Neurodata Without Borders, counted in its trials",
        {
            "trials": Option("table of intervals that holds the trials; default trials"),
            "stimulus": Option("column of it with the ids of the stimuli; default stimulus_id"),
            "window": Option("seconds after the start of a trial; default all of it", "window"),
            "bin_size": Option("seconds of a bin, which makes the dim time", "seconds"),
            "rate": Option("spikes per second, instead of counts", "switch"),
            **TRIALS,
            "by": Option("columns of the units that make the models", "texts"),
            **GAPS,
            **MODEL,
        },
    ),
    "netcdf": Kind(
        "xconverge.io.formats.xarray:read_netcdf",
        "any netCDF file, or what write_netcdf wrote",
        {
            **VARIABLE,
            "stimulus": Option("dim of the stimuli, or coordinate with their ids"),
            "feature": Option("dims of the features; default feature", "texts"),
            **GAPS,
            "model": Option(f"dim of the models, or name of the only one{EACH}", "each"),
        },
    ),
}
