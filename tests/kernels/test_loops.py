"""Compiled loops against plain ones, and when they are used."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from xconverge.kernels import compiled
from xconverge.kernels.neighbors import nearest

RNG = np.random.default_rng
numba = pytest.importorskip("numba")
loops = loops_module = compiled._loops()


def sorted_by_hand(row, k):
    """The k largest and where they are, the first on ties, entry by entry."""
    left = list(enumerate(row.tolist()))
    found = []
    for _ in range(k):
        best = left[0]
        for one in left[1:]:
            if one[1] > best[1]:
                best = one
        left.remove(best)
        found.append(best)
    return found


# --- norms and means


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_sums_of_a_part_of_the_stimuli(dtype, digits, unit):
    """The last two stimuli are nearly alike in all models: their gaps are told."""
    x = RNG(0).standard_normal((3, 9, 21)).astype(dtype)
    x[1:, 5:7] = x[0, 5:7] + dtype(0.125) * x[1:, 5:7]
    square, gaps = np.full((3, 5), np.nan), np.full(5, np.inf)
    mean = np.full((5, 21), np.nan, dtype)
    loops.sums_of_rows(x, 2, 7, unit, 0.3, square, mean, gaps)
    for i in range(5):
        rows = x[:, 2 + i].tolist()
        norms = [sum(value * value for value in row) for row in rows]
        if unit:
            rows = [[v / n**0.5 for v in row] for row, n in zip(rows, norms, strict=True)]
        total = [sum(column) / 3 for column in zip(*rows, strict=True)]
        np.testing.assert_allclose(square[:, i], norms, rtol=digits)
        np.testing.assert_allclose(mean[i], total, rtol=10 * digits, atol=digits)
        apart = sum((v - t) ** 2 for row in rows for v, t in zip(row, total, strict=True))
        if i < 3:
            assert apart > 0.4 * sum(norms if not unit else [1, 1, 1])
            assert np.isnan(gaps[i])
        else:
            assert gaps[i] == pytest.approx(apart, rel=20 * digits)


def test_a_missing_row_has_no_norm():
    """NaN, by which the caller sees that it is to be left out."""
    x = RNG(0).standard_normal((2, 3, 40)).astype(np.float32)
    x[1, 1] = np.nan
    square, mean, gaps = np.empty((2, 3)), np.empty((3, 40), np.float32), np.empty(3)
    loops.sums_of_rows(x, 0, 3, True, 0.3, square, mean, gaps)
    assert np.isnan(square).tolist() == [[False] * 3, [False, True, False]]


# --- the largest entries


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 50, 100])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_the_largest_of_every_row(columns, k):
    similarity = RNG(columns).standard_normal((6, columns)).astype(np.float32)
    # ties, and what is left out
    similarity[0] = np.round(similarity[0])
    similarity[1] = 0.25
    similarity[2, ::2] = -np.inf
    found, value = np.empty((6, k), np.int64), np.empty((6, k), np.float32)
    loops.largest(similarity, found, value)
    for i, row in enumerate(similarity):
        expected = sorted_by_hand(row, min(k, columns))
        finite = [(j, v) for j, v in expected if v > -np.inf]
        assert list(zip(found[i].tolist(), value[i].tolist(), strict=True))[: len(finite)] == finite
        # of fewer entries the rest says that there is none
        assert (value[i, len(finite) :] == -np.inf).all()


@pytest.mark.parametrize("step", [1, 7, 16, 40])
@pytest.mark.parametrize("n", [12, 33, 40])
def test_lists_that_half_of_a_product_makes(n, step):
    """Blocks of rows with all that follow; each product counts for both of its rows."""
    rows = RNG(n).standard_normal((n, 5)).astype(np.float32)
    rows[5] = rows[2]
    rows[6] = rows[2]
    whole = rows @ rows.T
    # exactly symmetric, as half of it is by its nature
    whole = np.triu(whole) + np.triu(whole, 1).T
    found, value = np.zeros((n, 5), np.int64), np.full((n, 5), -np.inf, np.float32)
    for first in range(0, n, step):
        block = np.ascontiguousarray(whole[first : first + step, first:])
        loops.join_largest(block, first, found, value)
    np.fill_diagonal(whole, -np.inf)
    for i, row in enumerate(whole):
        expected = sorted_by_hand(row, 5)
        assert list(zip(found[i].tolist(), value[i].tolist(), strict=True)) == expected


def test_cosines_of_dealt_rows():
    rng, n, k = RNG(3), 37, 6
    products = [rng.standard_normal((n, n)).astype(np.float32) for _ in range(4)]
    order = np.stack([rng.permutation(n) for _ in range(3)])
    inverse = rng.uniform(0.5, 2, (3, n)).astype(np.float32)
    found, value = np.empty((3, n, k), np.int64), np.empty((3, n, k), np.float32)
    loops.nearest_dealt(*products, order.astype(np.uint32), inverse, found, value)
    fitted, mixed, turned, residual = (one.astype(float) for one in products)
    for b, dealt in enumerate(order.tolist()):
        for i in range(n):
            row = np.full(n, -np.inf)
            for j in range(n):
                if j != i:
                    both = mixed[i, dealt[j]] + turned[dealt[i], j]
                    total = fitted[i, j] + both + residual[dealt[i], dealt[j]]
                    row[j] = total * inverse[b, j]
            expected = sorted_by_hand(row, k)
            assert found[b, i].tolist() == [j for j, _ in expected]
            np.testing.assert_allclose(value[b, i], [v for _, v in expected], rtol=1e-4, atol=1e-5)


# --- when they are used


def test_small_work_is_left_to_numpy(monkeypatch):
    monkeypatch.setattr(compiled, "WORTH", 100)
    assert compiled.loops(99) is None
    assert compiled.loops(100) is loops


@pytest.mark.parametrize("missing", [True, False], ids=["no numba", "compiler off"])
def test_without_numba_or_its_compiler_numpy_does_all(missing):
    """Numbers are the same; with the compiler switched off, loops would take minutes."""
    code = (
        f"import sys; missing = {missing}\n"
        "if missing: sys.modules['numba'] = None\n"
        "import numpy as np\n"
        "from xconverge.kernels import compiled\n"
        "from xconverge.kernels.neighbors import nearest\n"
        "compiled.WORTH = 0\n"
        "assert compiled.loops(10) is None\n"
        "x = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)\n"
        "print(nearest(x, 5, np.arange(60), 3)[0].tolist())\n"
    )
    variables = os.environ | ({} if missing else {"NUMBA_DISABLE_JIT": "1"})
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=variables)
    x = RNG(0).standard_normal((60, 5)).astype(np.float32)
    assert told.stdout.strip() == str(nearest(x, 5, np.arange(60), 3)[0].tolist())


@pytest.mark.parametrize("error", [OSError("disk full"), EOFError("Ran out of input")])
def test_what_is_kept_and_cannot_be_read_is_made_anew(monkeypatch, error):
    """A full disk, a damaged file: neither ends a computation."""

    def doubled(x):
        return 2 * x

    def fails(*arguments):
        raise error

    loop = loops_module._Loop(doubled, set())
    monkeypatch.setattr(loop, "run", fails)
    assert loop(21) == 42
    assert loop.run is not fails


def test_no_folder_to_keep_machine_code_in(monkeypatch):
    """A package in a place that may not be written to, and no home: each process compiles."""
    asked, plain = [], numba.njit

    def njit(*args, **options):
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)

    def doubled(x):
        return 2 * x

    assert loops_module._Loop(doubled, set())(21) == 42
    assert asked == [True, False]


# --- when they would not pay


def test_long_lists_are_left_to_numpy(monkeypatch):
    """Entries are put into lists one by one: of rows in order every entry, k steps each."""
    monkeypatch.setattr(compiled, "WORTH", 0)
    assert compiled.loops(10, compiled.LONGEST) is not None
    assert compiled.loops(10, compiled.LONGEST + 1) is None


@pytest.mark.parametrize("k", [3, 20, 21, 59])
def test_neighbours_of_rows_in_order(monkeypatch, k):
    """On an arc each next row is nearer than all before it."""
    angle = np.linspace(0, 1.5, 60) ** 1.5
    rows = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    found = []
    for worth in (0, float("inf")):
        monkeypatch.setattr(compiled, "WORTH", worth)
        found.append(nearest(rows, 2, np.arange(60), k))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
