"""Figures of results over time: what is drawn is what the result says."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.inference.test_latency import RSA, P, table
from tests.plot.drawn import assert_legible

plot = pytest.importorskip("xconverge.plot")
plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("agg")


def bars(ax):
    """Ends of the bars below the axes, by colour."""
    found: dict[str, list[list[float]]] = {}
    for line in ax.lines:
        if line.get_transform() == ax.get_xaxis_transform() and len(line.get_xdata()) == 2:
            found.setdefault(line.get_color(), []).append(np.round(line.get_xdata(), 3).tolist())
    return found


def test_bars_are_runs_of_significant_bins():
    given = table(RSA, P)
    given["chance"] = xr.zeros_like(given["rsa"])
    given["threshold"] = given["chance"] + 0.3
    ax = plot.time_course(given.assign_attrs(alpha=0.1))
    first, second = (line.get_color() for line in ax.lines if len(line.get_xdata()) == 5)
    assert bars(ax) == {first: [[-0.05, 0.05], [0.15, 0.35]], second: [[0.05, 0.25]]}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "v", "w", "90% of permutations",
    ]  # fmt: skip
    points = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert points == [0.3, 0.2]
    np.testing.assert_allclose(ax.collections[0].get_paths()[0].vertices[:, 1].max(), 0.3)


def test_a_mean_has_its_interval_and_other_dims_are_refused():
    one = table(RSA, P, name="mean_correlation", p_name="mean_p_value_cluster", tail="two-sided")
    one = one.isel(model_a=0, drop=True)
    one["mean_correlation_lower"] = one["mean_correlation"] - 0.1
    one["mean_correlation_upper"] = one["mean_correlation"] + 0.1
    _, axes = plt.subplots()
    assert plot.time_course(one, ax=axes) is axes
    assert "95% interval" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert axes.get_ylabel() == "correlation of dispersion with alignment"
    both = xr.concat([table(RSA, P)] * 2, "region", data_vars="all").assign_coords(
        region=["u", "w"]
    )
    with pytest.raises(xc.SchemaError, match=r"dims \['\w+'\] too, .*choose with \.sel"):
        plot.time_course(both)
    # a dim of one label is none
    assert len(bars(plot.time_course(both.isel(region=[0])))) == 2
    with pytest.raises(xc.SchemaError, match="numbers or dates"):
        plot.time_course(table(RSA, P, list("abcde")))
    dates = np.array(
        ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "2020-01-06"], "M8[ns]"
    )
    plot.time_course(table(RSA, P, dates)).figure.canvas.draw()


def plane(p):
    seconds, later = [0.0, 0.1, 0.2], [0.5, 0.6]
    dims, coords = ("time", "time_2"), {"time": seconds, "time_2": later}
    rsa = xr.DataArray([[0.1, 0.2], [np.nan, -0.5], [0.3, 0.4]], dims=dims, coords=coords)
    found = xr.Dataset({"rsa": rsa})
    if p is not None:
        found["p_value"] = rsa * 0
        found = found.assign_coords(p_value_cluster=(dims, np.asarray(p, float)))
    return found


def test_outlines_are_around_significant_bins():
    ax = plot.cross_temporal(plane([[0.01, 0.01], [np.nan, 1], [1, 0.05]]))
    (outlines,) = (c for c in ax.collections if hasattr(c, "get_segments"))
    segments = {tuple(map(tuple, np.round(s, 3))) for s in outlines.get_segments()}
    assert len(segments) == 10
    # around the two bins of the first time, and around the last of all
    assert ((0.45, -0.05), (0.55, -0.05)) in segments
    assert ((0.55, 0.05), (0.65, 0.05)) in segments
    assert ((0.55, -0.05), (0.55, 0.05)) not in segments
    assert ((0.55, 0.15), (0.55, 0.25)) in segments
    image = ax.collections[0]
    assert image.get_clim() == (-0.5, 0.5)
    assert np.ma.getmaskarray(image.get_array()).reshape(3, 2).tolist() == [
        [False, False], [True, False], [False, False],
    ]  # fmt: skip


def test_without_p_values_nothing_is_outlined_and_pairs_are_chosen():
    ax = plot.cross_temporal(plane(None))
    assert not [c for c in ax.collections if hasattr(c, "get_segments")]
    pairs = plane(None).expand_dims(model_a=["x"], model_b=["u", "v"])
    with pytest.raises(xc.SchemaError, match=r"dims \['model_b'\] too"):
        plot.cross_temporal(pairs)
    plot.cross_temporal(pairs.sel(model_b=["v"]))
    with pytest.raises(TypeError, match="result must be what.*cross_temporal_rsa"):
        plot.cross_temporal(plane(None)["rsa"])
    with pytest.raises(xc.SchemaError, match="lacks the dims"):
        plot.cross_temporal(plane(None).isel(time_2=0, drop=True))


@pytest.mark.slow
def test_lines_are_legible_and_a_node_is_taken_as_it_is(monkeypatch):
    given = table(RSA, P)
    given["chance"] = xr.zeros_like(given["rsa"])
    given["threshold"] = given["chance"] + 0.3
    for result in (given, xr.DataTree.from_dict({"rsa": given})["rsa"]):
        ax = plot.time_course(result)
        assert_legible(ax.get_figure(), monkeypatch)
        dashes = [line.get_linestyle() for line in ax.lines if len(line.get_xdata()) == 5]
        assert len(set(dashes)) == len(dashes) == 2
    pairs = plane([[0.01, 0.01], [np.nan, 1], [1, 0.05]])
    for result in (pairs, xr.DataTree.from_dict({"x": pairs})["x"]):
        assert_legible(plot.cross_temporal(result).get_figure(), monkeypatch)
