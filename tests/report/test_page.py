"""The page of a study: what is in it, and what a real browser makes of it."""

import base64
import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.report.page import write
from xconverge.testing import planted_study

pytest.importorskip("matplotlib")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = [
    "</script><script>document.title='broken'</script>",
    "<img src=x onerror=\"document.title='broken'\">",
    "& &amp; \"quoted\" 'single'",
    "$\\frac{1}{2}$ {{title}} \\1",
    "猫 \u202egnp.exe 🐈",
    "\x1b[31mred\x1b[0m",
]


def labelled(labels):
    """A study of 30 stimuli, the first of which have these labels and captions."""
    names = [*labels, *(f"s{i}" for i in range(30 - len(labels)))]
    sets = planted_study(3, 30, rng=0)
    sets = {
        key: reps.assign_coords(stimulus=names, caption=("stimulus", names[::-1]))
        .assign_coords(model=[f"{key} <b>{i}</b>" for i in range(3)])
        for key, reps in sets.items()
    }  # fmt: skip
    return xc.analyze(sets, k=5, n_bins=3, n_permutations=9, n_equal_noise=0, rng=0)


@pytest.fixture(scope="module")
def study():
    return labelled(HOSTILE)


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_it_is_one_file_that_loads_nothing(study, tmp_path):
    path = write(study, tmp_path / "report.html")
    text = path.read_text("utf-8")
    assert not re.search(r"(src|href)=[\"']?(https?:|//|file:)", text)
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text
    assert text.count("<figure>") >= 2
    for title in ("Findings", "Figures", "Tables", "Methods"):
        assert f">{title}" in text
    # whatever labels are, nothing of them is markup
    assert "<script>document" not in text
    assert "<img src=x" not in text
    assert "vision &lt;b&gt;0&lt;/b&gt;" in text
    assert re.search(r"\(seed 0\), numpy", text)


def test_numbers_of_the_page_are_those_of_the_study(study, tmp_path):
    known = data_of(write(study, tmp_path / "report.html").read_text("utf-8"))
    spread, scores = study["dispersion/dispersion"], study["alignment/mutual_knn"]
    assert known["labels"] == spread["stimulus"].values.tolist()
    for name, (_, values) in known["measures"].items():
        np.testing.assert_allclose(values, spread.sel(measure=name), rtol=1e-3)
    np.testing.assert_allclose(known["alignment"], scores.mean(["model_a", "model_b"]), rtol=1e-3)
    residual = study["shared_space/residual"]
    for name, values in known["residuals"].items():
        one = residual.sel(model=name)
        np.testing.assert_allclose(values, one / one.mean(), rtol=1e-3)
    # neighbours, counted anew from graphs
    graph = xc.neighbor_graph(planted_study(3, 30, rng=0)["language"], k=5)
    for i, near in enumerate(known["neighbors"]["language"]):
        for j, share in near:
            assert share == pytest.approx((graph.values[:, i] == j).any(1).mean(), abs=0.01)


@pytest.mark.slow
def test_layers_of_a_network_count_once_as_in_the_figures(tmp_path):
    sets = planted_study(4, 30, rng=0)
    sets["vision"] = sets["vision"].assign_coords(network=("model", ["a", "a", "a", "b"]))
    study = xc.analyze(sets, k=5, n_bins=3, n_permutations=9, n_equal_noise=0, rng=0)
    known = data_of(write(study, tmp_path / "report.html").read_text("utf-8"))
    scores = study["alignment/mutual_knn"].mean("model_b").values
    expected = (scores[:3].mean(0) + scores[3]) / 2
    np.testing.assert_allclose(known["alignment"], expected, rtol=1e-3)
    assert np.abs(expected - scores.mean(0)).max() > 0.01


@pytest.mark.slow
def test_pictures_are_those_of_their_stimuli(study, tmp_path):
    image = pytest.importorskip("PIL.Image")
    labels = ["s3", "s0", HOSTILE[0]]
    colours = {label: np.full((90, 40, 3), 60 * i + 40, np.uint8) for i, label in enumerate(labels)}
    folder = tmp_path / "images"
    folder.mkdir()
    for label in labels[:2]:
        image.fromarray(colours[label]).save(folder / f"{label}.png")
    shutil.make_archive(str(tmp_path / "zipped"), "zip", folder)
    for images in (folder, tmp_path / "zipped.zip", colours, {"s3": str(folder / "s3.png")}):
        path = write(study, tmp_path / "report.html", images=images, overwrite=True)
        found = data_of(path.read_text("utf-8"))["images"]
        assert "s3" in found
        assert set(found) <= set(labels)
        data = base64.b64decode(found["s3"].partition(",")[2])
        (tmp_path / "one.webp").write_bytes(data)
        with image.open(tmp_path / "one.webp") as opened:
            assert max(opened.size) == 64
            assert abs(np.asarray(opened.convert("RGB")).mean() - 40) < 4


def test_what_cannot_be_shown_is_refused(study, tmp_path):
    pytest.importorskip("PIL")
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(study, path)
    with pytest.raises(ValueError, match=r"no picture of any stimulus.*'cat'.*\.png"):
        write(study, path, images={"cat": np.zeros((2, 2))}, overwrite=True)
    with pytest.raises(ValueError, match=r"caption='nothing'.*caption"):
        write(study, path, caption="nothing", overwrite=True)
    with pytest.raises(xc.SchemaError, match=r"no group 'dispersion'.*analyze"):
        write(xr.DataTree(xr.Dataset({"rsa": 0.5})), path, overwrite=True)
    with pytest.raises(TypeError, match="analyze"):
        write(study["alignment"].to_dataset(), path, overwrite=True)
    both = xr.concat([study["dispersion"].to_dataset()] * 2, "region")
    regions = study.copy()
    regions["dispersion"] = xr.DataTree(both)
    with pytest.raises(xc.SchemaError, match=r"dims \['region'\] too.*\.sel\(region="):
        write(regions, path, overwrite=True)
    assert path.read_text() == "mine"


@pytest.mark.slow
def test_a_saved_study_gives_the_same_page(study, tmp_path):
    xc.write_study(tmp_path / "results.zarr", study)
    one = write(study, tmp_path / "one.html").read_text("utf-8")
    other = write(tmp_path / "results.zarr", tmp_path / "other.html").read_text("utf-8")
    assert data_of(one) == data_of(other)
    plain = [re.sub(r"<figure>.*?</figure>", "", text, flags=re.S) for text in (one, other)]
    assert plain[0] == plain[1]


def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here: one of {', '.join(BROWSERS)} (apt install chromium)")
    return found


def in_browser(path, script, width=1200):
    """What a script finds in the page, of a browser that has opened it."""
    asked = path.with_name("asked.html")
    ask = (
        "<pre id='told'></pre><script>addEventListener('load', () => setTimeout(() => {"
        "let told; try { told = (() => {" + script + "})(); } catch (error) "
        "{ told = {error: String(error)}; }"
        "document.getElementById('told').textContent = JSON.stringify(told); }, 100));</script>"
    )
    asked.write_text(path.read_text("utf-8").replace("</body>", ask + "</body>"), "utf-8")
    run = subprocess.run(
        [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
         f"--user-data-dir={path.parent / 'profile'}", "--virtual-time-budget=8000", "--dump-dom",
         asked.as_uri()],
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="told">(.*?)</pre>', run.stdout.decode("utf-8"), re.S)
    assert found, run.stderr.decode("utf-8", "replace")[-2000:]
    told = json.loads(unescape(found[1]))
    assert "error" not in told, told["error"]
    return told


LOOK = """
const at = (id) => document.getElementById(id);
const card = () => at("card").querySelector("h3").textContent;
const key = (name) => at("scatter").dispatchEvent(
  new KeyboardEvent("keydown", {key: name, bubbles: true}));
const told = {title: document.title, first: card(), html: at("card").innerHTML};
const term = (name) => [...at("card").querySelectorAll("dt")]
  .find((dt) => dt.textContent === name).nextSibling.textContent;
key("ArrowRight"); told.second = term("stimulus");
key("ArrowLeft"); told.again = term("stimulus");
for (let i = 0; i < 99; i++) key("ArrowRight");
told.last = term("stimulus");
at("find").value = "s7"; at("find").dispatchEvent(new Event("input"));
told.found = term("stimulus");
const near = at("card").querySelectorAll(".near button");
told.neighbours = near.length; near[0].click(); told.went = term("stimulus");
at("measure").value = "rdm"; at("measure").dispatchEvent(new Event("change"));
const table = document.querySelector("table.sortable");
const column = () => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent);
told.before = column();
table.tHead.rows[0].cells[1].querySelector("button").click(); told.up = column();
told.sorted = table.tHead.rows[0].cells[1].getAttribute("aria-sort");
table.tHead.rows[0].cells[1].querySelector("button").click(); told.down = column();
told.rows = at("rows").querySelectorAll("tbody tr").length;
at("after").click(); told.more = at("rows").querySelectorAll("tbody tr").length;
told.wide = document.documentElement.scrollWidth - innerWidth;
const pixels = at("scatter").getContext("2d").getImageData(0, 0, at("scatter").width, 400).data;
told.drawn = pixels.some((value) => value > 0);
told.unnamed = [...document.querySelectorAll("button, select, input, canvas")].filter((one) =>
  !(one.textContent.trim() || one.labels?.length || one.getAttribute("aria-label"))).length;
told.alt = [...document.querySelectorAll("img")].every((one) => one.hasAttribute("alt"));
return told;
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_and_explores_it(study, tmp_path, width):
    told = in_browser(write(study, tmp_path / "report.html"), LOOK, width)
    spread = study["dispersion/dispersion"].sel(measure="neighborhood")
    order = spread["stimulus"].values[np.argsort(spread.values, kind="stable")]
    assert told["title"] == "Dispersion of vision, alignment with language"
    assert "<script" not in told["html"]
    assert told["second"] == order[1]
    assert told["again"] == order[0]
    assert told["last"] == order[-1]
    assert told["found"] == "s7"
    assert told["neighbours"] == 2 * 8
    assert told["went"] != "s7"
    assert told["sorted"] == "ascending"
    assert told["up"] == sorted(told["before"]) == told["down"][::-1]
    assert (told["rows"], told["more"]) == (20, 10)
    assert told["wide"] <= 0
    assert told["drawn"]
    assert told["unnamed"] == 0
    assert told["alt"]
