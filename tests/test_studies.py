"""Each study on real data runs in its short form, where the data are at hand."""

from tests.scripts import STUDIES, run_main

# the arguments of each study's `main` that make it take seconds
SHORT: dict[str, dict] = {}


def run(name: str):
    return run_main(STUDIES / f"{name}.py", **SHORT[name])


def test_each_study_is_here():
    assert set(SHORT) == {path.stem for path in STUDIES.glob("*.py")}
