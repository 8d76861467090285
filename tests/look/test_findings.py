from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.look.findings import Finding, list_numbers, write_findings

FINDINGS = {
    "The label": [
        Finding("accuracy", Estimate(0.5, 0.25), "higher is better"),
        Finding("NMI", Estimate(0.125, 0.5), ""),
    ],
    "Levels": [Finding("z2", Estimate(2.0, 0.0), "nats")],
}


def test_numbers_stand_below_each_other_under_their_heading():
    assert write_findings(FINDINGS).splitlines() == [
        "",
        "The label",
        "accuracy      0.5000 ± 0.2500   higher is better",
        "NMI           0.1250 ± 0.5000",
        "",
        "Levels",
        "z2            2.0000 ± 0.0000   nats",
    ]
    assert write_findings({}) == ""


def test_numbers_for_a_file():
    numbers = list_numbers(FINDINGS)
    assert numbers["The label"]["NMI"] == {"value": 0.125, "stderr": 0.5}
    assert list(numbers) == ["The label", "Levels"]
