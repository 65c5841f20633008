"""Models of rsatoolbox, and what its inference says, with labels."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps

pytest.importorskip("h5py")
pytest.importorskip("rsatoolbox")

from rsatoolbox import inference
from rsatoolbox.inference.result import load_results
from rsatoolbox.model import ModelFixed, ModelSelect, ModelWeighted
from rsatoolbox.rdm import RDMs

to_models, from_result = xc.io.to_rsatoolbox_models, xc.io.from_rsatoolbox_result


@pytest.fixture(scope="module")
def nets():
    return xc.rdm(make_reps(4, 12, [5, 6, 4, 5]), "euclidean")


@pytest.fixture(scope="module")
def brain():
    """Five subjects, their stimuli in another order."""
    reps = make_reps(5, 12, 6, seed=1).assign_coords(model=[f"sub{i}" for i in range(5)])
    return xc.rdm(reps.isel(stimulus=np.random.default_rng(3).permutation(12)), "euclidean")


@pytest.fixture(scope="module")
def data(brain):
    return xc.io.to_rsatoolbox_rdms(brain)


def test_fixed_models_are_evaluated_as_rsa_does(nets, brain, data):
    models = to_models(nets, data)
    assert all(type(model) is ModelFixed for model in models)
    assert [model.name for model in models] == nets.model.values.tolist()
    result = inference.eval_fixed(models, data, method="spearman")
    table = from_result(result, data)
    ours = xc.rsa(nets, brain, "spearman").rename(model_a="model", model_b="subject")
    np.testing.assert_allclose(
        table["evaluation"], ours.sel(subject=table.subject, model=table.model), rtol=1e-10
    )
    assert table["subject"].values.tolist() == brain.model.values.tolist()
    np.testing.assert_array_equal(table["estimate"], result.get_means())
    np.testing.assert_array_equal(table["standard_error"], result.get_sem())
    p_pairs, p_zero, p_noise = result.test_all()
    np.testing.assert_array_equal(table["p_value"], p_zero)
    np.testing.assert_array_equal(table["ceiling_p_value"], p_noise)
    np.testing.assert_array_equal(table["difference_p_value"], p_pairs)
    np.testing.assert_array_equal([table["lower"], table["upper"]], result.noise_ceiling)
    np.testing.assert_allclose(
        table["difference"].sel(model="net0", model_2="net3"),
        table["estimate"].sel(model="net0") - table["estimate"].sel(model="net3"),
    )
    # coordinates of models came along, on both dims
    assert table["family"].values.tolist() == nets["family"].values.tolist()
    assert table["family_2"].dims == ("model_2",)
    assert table.attrs["method"] == "spearman"
    assert table.attrs["evaluated"] == "fixed"
    assert table.attrs["dof"] == 4
    xr.testing.assert_identical(from_result(result, brain), table)


def test_without_data_models_keep_their_order(nets, data):
    there = to_models(nets)[0].rdm_obj
    assert list(there.pattern_descriptors["stimulus"]) == nets.stimulus.values.tolist()
    ordered = to_models(nets, data)[0].rdm_obj
    assert list(ordered.pattern_descriptors["stimulus"]) == list(
        data.pattern_descriptors["stimulus"]
    )
    # there and back
    every = [xc.io.from_rsatoolbox_rdms(model.rdm_obj) for model in to_models(nets)]
    np.testing.assert_array_equal(xr.concat(every, "model", join="exact"), nets)


BOOTSTRAPS = {
    "bootstrap": lambda m, d: inference.eval_bootstrap(
        m, d, N=6, pattern_descriptor="stimulus", rdm_descriptor="model"
    ),
    "bootstrap_rdm": lambda m, d: inference.eval_bootstrap_rdm(m, d, N=6),
    "bootstrap_pattern": lambda m, d: inference.eval_bootstrap_pattern(
        m, d, N=6, pattern_descriptor="stimulus"
    ),
    "bootstrap_crossval": lambda m, d: inference.bootstrap_crossval(
        m, d, N=5, k_pattern=2, k_rdm=2, pattern_descriptor="stimulus"
    ),
    "dual_bootstrap": lambda m, d: inference.eval_dual_bootstrap(
        m, d, N=5, k_pattern=1, k_rdm=1, pattern_descriptor="stimulus"
    ),
}


# rsatoolbox 0.3.2 reshapes in place, which numpy 2.5 is retiring
@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
@pytest.mark.parametrize(
    ("how", "kind"), [*((how, "fixed") for how in BOOTSTRAPS), ("bootstrap_rdm", "weighted")]
)
def test_bootstraps(nets, data, how, kind):
    nets = nets.assign_coords(network=("model", ["a", "a", "b", "b"]))
    models = to_models(nets, data, kind=kind, by=None if kind == "fixed" else "network")
    np.random.seed(0)  # noqa: NPY002 - the generator that rsatoolbox draws from
    result = BOOTSTRAPS[how](models, data)
    table = from_result(result)
    assert table.attrs["evaluated"] == how
    np.testing.assert_allclose(table["estimate"], result.get_means(), rtol=1e-12)
    np.testing.assert_allclose(table["standard_error"], result.get_sem(), rtol=1e-12)
    assert table["evaluation"].dims[:2] == ("model", "draw")
    mean = table["evaluation"].mean([d for d in table["evaluation"].dims if d != "model"])
    np.testing.assert_allclose(mean, table["estimate"], rtol=1e-12)
    np.testing.assert_allclose(
        [table["lower"], table["upper"]],
        [np.nanmean(bound) for bound in result.noise_ceiling],
        rtol=1e-12,
    )
    np.testing.assert_array_equal(table["p_value"], result.test_zero())
    if kind == "weighted":
        assert table["model"].values.tolist() == ["a", "b"]
        assert "family" not in table.coords  # the RDMs of a model differ in it
    if how == "dual_bootstrap":
        assert table["drawn"].values.tolist() == ["both", "rdm", "pattern"]
        with pytest.raises(ValueError, match="test_type='bootstrap' gives no p-value a model"):
            from_result(result, test_type="bootstrap")
    if how == "bootstrap_rdm":
        drawn = from_result(result, test_type="bootstrap")
        np.testing.assert_array_equal(drawn["p_value"], result.test_zero("bootstrap"))
        np.testing.assert_array_equal(
            drawn["difference_p_value"], result.test_pairwise("bootstrap")
        )
        assert drawn["ceiling_p_value"].isnull().all()
        assert drawn.attrs["test"] == "bootstrap"


def test_models_of_several_rdms(nets, data):
    nets = nets.assign_coords(network=("model", ["a", "b", "a", "b"]))
    one, other = to_models(nets, data, kind="weighted", by="network")
    assert (type(one), one.name, one.n_rdm, other.name) == (ModelWeighted, "a", 2, "b")
    assert list(one.rdm_obj.rdm_descriptors["model"]) == ["net0", "net2"]
    (every,) = to_models(nets, data, kind="select")
    assert (type(every), every.name, every.n_rdm) == (ModelSelect, "select", 4)
    with pytest.raises(ValueError, match="by='network' makes one model of several"):
        to_models(nets, data, by="network")
    # a brain that is a sum of two RDMs: the weights come back
    order = data.pattern_descriptors["stimulus"]
    truth = nets.sel(model=["net0", "net2"], stimulus=order, stimulus_2=order)
    mixed = (truth * xr.DataArray([1.0, 3.0], dims="model")).sum("model", keepdims=True)
    mixed = xc.io.to_rsatoolbox_rdms(mixed.assign_coords(model=["mix"]))
    theta = one.fit(mixed, method="cosine")
    np.testing.assert_allclose(theta[1] / theta[0], 3, rtol=1e-3)


@pytest.mark.slow
def test_crossvalidation_has_no_errors(nets, data):
    (model,) = to_models(nets, data, kind="weighted")
    train, test, ceil = inference.sets_k_fold(
        data, k_pattern=2, k_rdm=2, pattern_descriptor="stimulus", rdm_descriptor="model"
    )
    result = inference.crossval(
        [model], data, train, test, ceil, pattern_descriptor="stimulus", method="cosine"
    )
    table = from_result(result)
    assert table["evaluation"].dims == ("model", "fold")
    np.testing.assert_array_equal(table["evaluation"], result.evaluations[0])
    np.testing.assert_allclose(table["estimate"], result.get_means())
    for name in ("standard_error", "p_value", "ceiling_p_value", "difference_p_value"):
        assert table[name].isnull().all()


def test_results_from_a_file(tmp_path, nets, data):
    nets = nets.assign_coords(label=("model", ["ä", "b", "ü", "日本"]))
    result = inference.eval_fixed(to_models(nets, data), data, method="corr")
    path = str(tmp_path / "result.hdf5")
    result.save(path)
    loaded = from_result(load_results(path), data)
    xr.testing.assert_identical(loaded, from_result(result, data))
    assert loaded["label"].values.tolist() == ["ä", "b", "ü", "日本"]


def test_one_model_and_one_subject(nets, brain):
    alone = xc.io.to_rsatoolbox_rdms(brain.isel(model=[0]))
    result = inference.eval_fixed(to_models(nets.isel(model=[0]), alone), alone)
    table = from_result(result, alone)
    assert table["evaluation"].shape == (1, 1)
    assert table["standard_error"].isnull().all()
    several = xc.io.to_rsatoolbox_rdms(brain)
    result = inference.eval_fixed(to_models(nets.isel(model=[0]), several), several)
    table = from_result(result, several)
    assert np.isfinite(table["p_value"]).all()
    assert table["difference_p_value"].isnull().all()
    ranks = from_result(result, several, test_type="ranksum")
    np.testing.assert_array_equal(ranks["p_value"], result.test_zero("ranksum"))


def test_what_is_refused(nets, brain, data):
    with pytest.raises(xc.SchemaError, match="data and rdm must have the same labels.*stimulus_2="):
        to_models(nets[:, :-1, :-1], data)
    gaps = nets.copy()
    gaps[1, 3] = gaps[1, :, 3] = np.nan
    lost = nets.stimulus[3].item()
    with pytest.raises(xc.SchemaError, match=f"missing distances in 'net1'.*'{lost}'"):
        to_models(gaps)
    with pytest.raises(xc.SchemaError, match="no pattern descriptor 'stimulus'.*'conds'"):
        to_models(nets, RDMs(np.ones((1, 66)), pattern_descriptors={"conds": list(range(12))}))
    with pytest.raises(TypeError, match="must be a Result"):
        from_result(data)
    result = inference.eval_fixed(to_models(nets, data), data)
    with pytest.raises(xc.SchemaError, match="data has 4 RDMs, and 5 were evaluated"):
        from_result(result, brain[:4])
    with pytest.raises(xc.SchemaError, match="no RDM descriptor 'session'"):
        from_result(result, data, subject="session")
    result.models[1].name = "net0"
    with pytest.raises(xc.SchemaError, match="duplicate labels on 'model': 'net0'"):
        from_result(result)
