"""What a figure shows, as it is drawn, and labels that make figures fail."""

import numpy as np
import xarray as xr

ODD = [
    "$x_{1}$ and a very long label that goes on and on for ever and ever", "_under",
    "cat \U0001f600", "猫", "a\nb", "\x1b[31mred", "عربى", "x" * 300, "plain",
]  # fmt: skip


def texts_of(figure, monkeypatch):
    """Text, box in pixels, size in points and angle of every text that is drawn."""
    from matplotlib.text import Text

    found, draw = [], Text.draw

    def told(self, renderer, *args, **kwargs):
        # annotations call it for the text alone, and count their arrow in their extent
        if self.get_visible() and self.get_text().strip():
            box = Text.get_window_extent(self, renderer)
            found.append((self.get_text(), box, self.get_fontsize(), self.get_rotation()))
        return draw(self, renderer, *args, **kwargs)

    # the layout moves once more where it found that text is wider than axes
    figure.canvas.draw()
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", told)
        figure.canvas.draw()
    return found


def assert_legible(figure, monkeypatch, least=8.0, overlap=True):
    """All text is large enough, inside the figure, and none lies on another."""
    found = texts_of(figure, monkeypatch)
    assert found
    width, height = figure.bbox.width, figure.bbox.height
    for text, box, size, _ in found:
        assert size >= least, (text, size)
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, (text, box, (width, height))
    if overlap:
        # boxes of slanted text overlap where the text does not
        level = [(text, box) for text, box, _, angle in found if angle % 90 == 0]
        for i, (text, box) in enumerate(level):
            for other, far in level[i + 1 :]:
                shared = [
                    min(box.x1, far.x1) - max(box.x0, far.x0),
                    min(box.y1, far.y1) - max(box.y0, far.y0),
                ]
                assert min(shared) <= 1.5, (text, other, shared)
    return found


def points_of(ax):
    """Where the points of a scatter lie."""
    return np.asarray(ax.collections[0].get_offsets())


def values(n, labels=None, rng=0, name="dispersion"):
    """A value of each stimulus."""
    labels = [f"s{i}" for i in range(n)] if labels is None else labels
    drawn = np.random.default_rng(rng).random(n)
    return xr.DataArray(drawn, dims="stimulus", coords={"stimulus": labels}, name=name)


def scores(n, a=("u", "v"), b=("w",), labels=None, rng=0):
    """Alignment (model_a, model_b, stimulus)."""
    labels = [f"s{i}" for i in range(n)] if labels is None else labels
    return xr.DataArray(
        np.random.default_rng(rng).random((len(a), len(b), n)),
        dims=("model_a", "model_b", "stimulus"),
        coords={"model_a": list(a), "model_b": list(b), "stimulus": labels},
        name="alignment",
        attrs={"metric": "mutual_knn"},
    )


def square(n, labels=None, rng=0):
    """An RDM."""
    labels = [f"s{i}" for i in range(n)] if labels is None else labels
    x = np.random.default_rng(rng).random((n, n))
    return xr.DataArray(
        (x + x.T) * (1 - np.eye(n)),
        dims=("stimulus", "stimulus_2"),
        coords={"stimulus": labels, "stimulus_2": labels},
        name="rdm",
        attrs={"metric": "cosine"},
    )
