"""Tables: what a column is taken for, the way to numbers and back, and what is refused."""

import numpy as np
import pytest
import scipy.sparse
import torch

import pyro_vae as pv

pd = pytest.importorskip("pandas")


def make_frame(n=60, seed=0):
    """One column of each kind, with gaps in some."""
    rng = np.random.default_rng(seed)
    sizes = pd.Categorical(
        rng.choice(["small", "middle", "large"], n), ["small", "middle", "large"], ordered=True
    )
    frame = pd.DataFrame(
        {
            "temperature": rng.normal(20, 5, n),
            "income": rng.lognormal(10, 1, n),
            "visits": rng.poisson(3, n),
            "part": np.r_[0.0, 1.0, rng.uniform(size=n - 2)],
            "smokes": rng.choice(["yes", "no"], n),
            "city": rng.choice(["Rome", "Oslo", "Wien"], n),
            "size": sizes,
            "ill": rng.choice([True, False], n),
        },
        index=[f"row {i}" for i in range(n)],
    )
    for i, name in enumerate(["temperature", "visits", "city", "size", "smokes"]):
        frame[name] = frame[name].mask(frame.index == f"row {i + 3}")
    return frame


KINDS = {
    "temperature": "real",
    "income": "positive",
    "visits": "count",
    "part": "share",
    "smokes": "binary",
    "city": "category",
    "size": "ordered",
    "ill": "binary",
}


def test_what_each_column_is_taken_for():
    found = pv.data.table(make_frame())
    assert {column.name: column.kind for column in found.columns} == KINDS
    lines = repr(found).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == list(KINDS)
    assert "size: ordered (small, middle, large)" in repr(found)
    assert "1.0% of the cells missing" in repr(found)


def test_numbers_become_the_cells_that_they_were():
    frame = make_frame()
    found = pv.data.table(frame)
    back = found.decode(found.x, like=frame)
    assert back.index.equals(frame.index)
    for name in frame:
        gaps = frame[name].isna()
        assert back[name].isna().equals(gaps), name
        if KINDS[name] in ("real", "positive", "share"):
            np.testing.assert_allclose(back[name][~gaps], frame[name][~gaps], rtol=1e-5, atol=1e-6)
        else:
            assert back[name][~gaps].tolist() == frame[name][~gaps].tolist(), name
        if not gaps.any():
            assert back[name].dtype == frame[name].dtype, name


def test_numbers_are_in_the_support_and_standardised():
    found = pv.data.table(make_frame())
    vae = found.make_pair(latents=2)
    assert pv.Objective(vae)(found.x).isfinite()
    names = [column.name for column in found.columns]
    x = dict(zip(names, found.x.double().unbind(1), strict=True))
    assert x["temperature"].nanmean().abs() < 1e-6
    assert ((x["part"] > 0) & (x["part"] < 1)).all()
    assert abs(x["income"].mean() - 1) < 1e-6


def test_frames_come_back_from_a_trained_pair():
    frame = make_frame()
    found = pv.data.table(frame)
    vae = found.make_pair(latents=2, hidden=(16,))
    pv.fit(vae, found.x, epochs=2, seed=0, progress=False)

    drawn = found.simulate(vae, 30)
    assert drawn.shape == (30, 8) and set(drawn["city"]) <= {"Rome", "Oslo", "Wien"}
    assert drawn["size"].cat.ordered and drawn["ill"].dtype == bool
    filled = found.impute(vae, num_samples=20, progress=False)
    assert not filled.isna().any().any()
    assert filled.index.equals(frame.index) and list(filled) == list(frame)
    seen = frame.notna()
    for name in frame:
        assert filled[name][seen[name]].equals(frame[name][seen[name]]), name
    several = found.impute(vae, draws=3, num_samples=20, progress=False)
    assert len(several) == 3 and not several[0].isna().any().any()


def test_a_gap_is_filled_by_what_the_other_column_says():
    """a ~ N(0, 1) and b = a + small noise: b is missing in half of the rows."""
    rng = np.random.default_rng(0)
    a = rng.normal(50, 10, 600)
    frame = pd.DataFrame({"a": a, "b": 2 * a + rng.normal(0, 0.5, 600)})
    truth = frame["b"].copy()
    hidden = np.arange(600) % 2 == 0
    frame.loc[hidden, "b"] = np.nan
    found = pv.data.table(frame)
    torch.manual_seed(0)
    vae = found.make_pair(latents=1, hidden=(32,))
    pv.fit(vae, found.x, epochs=150, learning_rate=3e-3, seed=0, progress=False)
    filled = found.impute(vae, num_samples=200, progress=False)["b"]
    assert np.square(filled - truth)[hidden].mean() ** 0.5 < 0.2 * truth.std()


def test_the_pair_is_saved_and_loaded(tmp_path):
    vae = pv.data.table(make_frame()).make_pair(latents=2)
    pv.save(vae, tmp_path)
    assert repr(pv.load(tmp_path)) == repr(vae)


def test_another_order_and_further_columns_do_not_matter():
    frame = make_frame()
    found = pv.data.table(frame)
    other = frame[list(reversed(list(frame)))].assign(note="x")
    assert torch.equal(found.encode(other).nan_to_num(), found.x.nan_to_num())
    assert list(found.decode(found.x, like=other)) == list(other)


@pytest.mark.parametrize(
    "text",
    [
        'name;kind;size\n"a; b";x;1,5\nc;y;2,5\nd;;3,25\n',
        'name,kind,size\n"a; b",x,1.5\nc,y,2.5\nd,,3.25\n',
        "name\tkind\tsize\na; b\tx\t1.5\nc\ty\t2.5\nd\t\t3.25\n",
        '\ufeffname, kind, size\n"a; b", x, 1.5\nc, y, 2.5\nd, , 3.25\n',
    ],
    ids=["semicolons and decimal commas", "commas and quotes", "tabs", "spaces and a mark"],
)
def test_files_as_people_have_them(text, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    found = pv.data.table(path)
    columns = {column.name: column for column in found.columns}
    assert set(columns) == {"name", "kind", "size"}
    assert columns["name"].levels == ("a; b", "c", "d")
    assert found.decode(found.x)["kind"].isna().tolist() == [False, False, True]
    np.testing.assert_allclose(found.decode(found.x)["size"], [1.5, 2.5, 3.25], rtol=1e-6)


def test_a_file_of_one_column(tmp_path):
    (tmp_path / "a.csv").write_text("a\n0.5\n-1\n2.5\n")
    assert pv.data.table(tmp_path / "a.csv").x.shape == (3, 1)


def test_rows_and_matrices():
    rows = [[0.5, 3], [-1.5, 4], [2.5, 5]]
    for source in (rows, np.array(rows), torch.tensor(rows), scipy.sparse.csr_matrix(rows)):
        found = pv.data.table(source)
        assert {column.name: column.kind for column in found.columns} == {"0": "real", "1": "count"}


def test_the_numbering_of_rows_is_left_out(tmp_path):
    frame = pd.DataFrame({"a": [0.5, -1.0, 2.5]})
    frame.to_csv(tmp_path / "a.csv")
    with pytest.warns(UserWarning, match="numbers the rows"):
        assert len(pv.data.table(tmp_path / "a.csv").columns) == 1


@pytest.mark.parametrize(
    ("cells", "words"), [([1.5] * 3, "one value, 1.5"), ([None] * 3, "no value")]
)
def test_a_column_that_says_nothing_is_left_out(cells, words):
    frame = pd.DataFrame({"a": [0.5, -1.0, 2.5], "b": cells})
    with pytest.warns(UserWarning, match=f"column 'b' has {words} and is left out"):
        found = pv.data.table(frame)
    assert len(found.columns) == 1 and list(found.decode(found.x, like=frame)) == ["a", "b"]


def test_large_whole_numbers_are_numbers_and_come_back_whole():
    frame = pd.DataFrame({"a": [120, 400, 730, 90]})
    found = pv.data.table(frame)
    assert found.columns[0].kind == "real"
    assert found.decode(found.x + 1e-4)["a"].tolist() == [120, 400, 730, 90]


def test_kinds_are_overruled():
    frame = make_frame()
    kinds = {"visits": "category", "income": "leave out", "city": ["Wien", "Rome", "Oslo"]}
    found = pv.data.table(frame, kinds)
    kept = {column.name: column for column in found.columns}
    assert kept["visits"].kind == "category" and "income" not in kept
    assert kept["city"].levels == ("Wien", "Rome", "Oslo") and kept["city"].kind == "ordered"


def _table(**columns):
    return lambda: pv.data.table(pd.DataFrame(columns))


ONES = [0.5, -1.0, 2.5]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_table(a=pd.date_range("2020-01-01", periods=3)), "column 'a' holds dates"),
        (_table(a=[1, "two", 3.5]), r"column 'a' mixes types: 1 \(int\), 'two' \(str\), 3.5"),
        (_table(a=[f"person {i}" for i in range(30)]), "column 'a' has 30 different values in 30"),
        (_table(a=[0.5, np.inf, 1.5]), "column 'a': it has an infinite number"),
        (lambda: pv.data.table(pd.DataFrame([[1, 2]] * 3, columns=["a", "a"])), "name 'a' stands"),
        (_table(a=[1.0]), "at least two rows, got 1"),
        (lambda: pv.data.table(pd.DataFrame({"a": ONES}), {"b": "real"}), "no column 'b'"),
        (lambda: pv.data.table(pd.DataFrame({"a": ONES}), {"a": "odd"}), "'a' is 'odd', expected"),
        (lambda: pv.data.table(pd.DataFrame({"a": ONES}), {"a": "count"}), "0.5 is no count"),
        (lambda: pv.data.table(pd.DataFrame({"a": ONES}), {"a": "positive"}), "-1 is no positive"),
        (lambda: pv.data.table(pd.DataFrame({"a": ONES}), {"a": "share"}), "-1 is no share"),
        (lambda: pv.data.table(pd.DataFrame({"a": ONES}), {"a": "binary"}), "two values, got 3"),
        (lambda: pv.data.table(pd.DataFrame({"a": ONES}), {"a": "leave out"}), "no column is left"),
        (lambda: pv.data.table("none.csv"), "there is no file none.csv"),
    ],
    ids=range(14),
)
def test_what_is_no_table_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("source", [3, None, {1, 2}], ids=str)
def test_no_source(source):
    with pytest.raises(TypeError, match="source: expected a frame, a path or rows"):
        pv.data.table(source)


def test_an_unreadable_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"cannot read .*a\.csv as CSV"):
        pv.data.table(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"cannot read .*a\.csv as CSV"):
        pv.data.table(path)


def test_later_frames_are_held_against_the_first():
    frame = make_frame()
    found = pv.data.table(frame)
    with pytest.raises(ValueError, match="column 'city': Bern was not there"):
        found.encode(frame.assign(city="Bern"))
    with pytest.raises(ValueError, match="no column ill, city"):
        found.encode(frame.drop(columns=["city", "ill"]))
    with pytest.raises(ValueError, match="column 'visits': -2 is no count"):
        found.encode(frame.assign(visits=-2))
    with pytest.raises(ValueError, match="column 'temperature': 'hot' is no number"):
        found.encode(frame.assign(temperature="hot"))
