"""Tables on the command line: from a file to an imputed file in one command."""

import json

import pytest

from tests.commands import QUICK
from tests.commands import call as call
from tests.data.test_table import KINDS, make_frame

pd = pytest.importorskip("pandas")
FILE = "patients.csv"
TRAIN = ("train", "--pair", "table", "--data", FILE, "--out", "run", *QUICK)


@pytest.fixture
def frame(tmp_path):
    frame = make_frame(80)
    frame.to_csv(tmp_path / FILE, index=False, sep=";", decimal=",")
    return frame


@pytest.mark.filterwarnings("ignore:k̂")
def test_from_a_file_to_an_imputed_file(call, frame, tmp_path):
    code, out, err = call(*TRAIN, "--columns", "size=small<middle<large,visits=real")
    assert code == 0, err
    for name, kind in KINDS.items():
        said = "real" if name == "visits" else kind
        assert f"  {name}: {said}" in out
    assert "size: ordered (small, middle, large)" in out
    assert "--columns name=kind" in out and "run/imputed.csv" in out

    filled = pd.read_csv(tmp_path / "run" / "imputed.csv")
    assert not filled.isna().any().any() and list(filled) == list(frame)
    seen = frame["city"].notna().to_numpy()
    assert filled["city"][seen].tolist() == frame["city"][seen].tolist()
    assert (tmp_path / "run" / "figures" / "columns.png").exists()

    code, out, err = call("sample", "run", "--count", "7")
    assert code == 0, err
    drawn = pd.read_csv(tmp_path / "run" / "samples.csv")
    assert drawn.shape == (7, 8) and set(drawn["city"]) <= {"Rome", "Oslo", "Wien"}
    code, out, err = call("measure", "run", "--quick", "--num-samples", "20", "--rows", "8")
    assert code == 0, err


def test_a_run_goes_on(call, frame, tmp_path):
    assert call(*TRAIN)[0] == 0
    (tmp_path / "run" / "imputed.csv").unlink()
    code, _, err = call("train", "--resume", "--out", "run", "--epochs", "3")
    assert code == 0, err
    assert (tmp_path / "run" / "imputed.csv").exists()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["columns"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--columns", "visits"), "--columns: expected name=kind"),
        (("--columns", "visit=real"), "there is no column 'visit'"),
        (("--columns", "visits=odd"), "'visits' is 'odd', expected one of real"),
        (("--variational", "laplace"), "--variational"),
        (("--network", "conv"), "--network"),
        (("--likelihood", "normal"), "--likelihood"),
        (("--data", "digits"), "there is no file"),
    ],
    ids=range(7),
)
def test_what_does_not_fit_is_one_line_and_leaves_no_run(call, frame, tmp_path, options, words):
    code, _, err = call(*TRAIN, *options)
    assert code == 2 and words in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_columns_go_with_tables_alone(call):
    code, _, err = call("train", "--columns", "a=real", *QUICK)
    assert code == 2 and "columns: it goes with --pair table" in err


def test_a_file_of_words_says_which_pair_takes_it(call, frame):
    code, _, err = call("train", "--data", FILE, *QUICK)
    assert code == 2 and "--pair table" in err
