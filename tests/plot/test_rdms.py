"""RDMs: what is drawn is what they hold, in the order that was asked for."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible, square, values

plot = pytest.importorskip("xconverge.plot")


def test_an_rdm_is_ordered_by_a_coordinate(monkeypatch):
    kinds = ["tool", "animal"] * 4
    distances = square(8).assign_coords(kind=("stimulus", kinds))
    # the other side is joined by its labels
    ax = plot.rdm(distances[:, ::-1], "kind")
    order = [1, 3, 5, 7, 0, 2, 4, 6]
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array(), distances.values[np.ix_(order, order)])
    off = distances.values[~np.eye(8, dtype=bool)]
    assert image.get_clim() == (off.min(), off.max())
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    assert {"animal (4)", "tool (4)", "8 stimuli, ordered by kind"} <= drawn
    assert {line.get_xdata()[0] for line in ax.lines if len({*line.get_xdata()}) == 1} == {3.5}
    given = xr.DataArray(
        kinds[::-1], dims="stimulus", coords={"stimulus": distances.stimulus[::-1]}
    )
    again = plot.rdm(distances, given)
    np.testing.assert_allclose(again.images[0].get_array(), image.get_array())


def test_numbers_are_an_order_and_no_groups(monkeypatch):
    ages = values(30)
    ax = plot.rdm(square(30).assign_coords(age=("stimulus", ages.values)), "age")
    ticks = [tick.get_text() for tick in ax.get_yticklabels()]
    assert ticks[0] == f"{float(ages.min()):.3g}"
    assert ticks[-1] == f"{float(ages.max()):.3g}"
    assert_legible(ax.get_figure(), monkeypatch)


@pytest.mark.slow
def test_a_large_rdm_is_drawn_as_means():
    ax = plot.rdm(square(2000))
    expected = square(2000).values.reshape(1000, 2, 1000, 2).mean((1, 3))
    np.testing.assert_allclose(ax.images[0].get_array(), expected)
    assert ax.get_xlabel() == "2,000 stimuli"


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 1, 9])
def test_rdms_of_few_stimuli(n, monkeypatch):
    labels = ODD[:n]
    distances = square(n, labels).assign_coords(kind=("stimulus", labels))
    for ax in (plot.rdm(distances), plot.rdm(distances * np.nan), plot.rdm(distances * 0 + 1)):
        assert_legible(ax.get_figure(), monkeypatch)
    many = square(9 * n, None).assign_coords(kind=("stimulus", labels * 9))
    assert_legible(plot.rdm(many, "kind").get_figure(), monkeypatch)


def test_what_is_no_rdm_is_refused():
    for given, options, error, text in (
        (values(4), {}, xc.SchemaError, r"rdm needs the dims \['stimulus', 'stimulus_2'\]"),
        (np.ones((3, 3)), {}, TypeError, "rdm must be an xarray.DataArray"),
        (square(4).expand_dims(model=["u", "v"]), {}, xc.SchemaError, r"\['model'\] too.*\.sel"),
        (square(4)[:, :3], {}, xc.SchemaError, "same labels.*differ in 's3'"),
        (square(4), {"order_by": "kind"}, xc.SchemaError, "order_by='kind' must be a coordinate"),
        (square(4), {"order_by": values(3)}, xc.SchemaError, "order_by has no value for 's3'"),
    ):
        with pytest.raises(error, match=f"(?s){text}"):
            plot.rdm(given, **options)
    assert plot.rdm(square(4).expand_dims(model=["u"])).images
