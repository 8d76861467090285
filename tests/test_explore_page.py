"""docs/explore.html is what the template makes, of the pair of docs/questions.md."""

from pathlib import Path

import torch

from pyro_vae.look.explore import LARGEST, fill
from tests.pages import bring, opened, read_number, read_payload, unpack, wait

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explore.html"


def test_the_page_is_what_the_template_makes():
    page = PAGE.read_text(encoding="utf-8")
    assert fill(read_payload(page)) == page, "run python docs/build_explorer.py"
    assert len(page.encode()) < LARGEST


def test_the_pair_is_that_of_the_questions(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples" / "questions")
    from pair import load, three, x_train

    vae, payload = load(), read_payload(PAGE.read_text(encoding="utf-8"))
    packed = payload["pairs"][0]
    with torch.no_grad():
        loc = vae.variational(x_train[:1000]).base_dist.loc
    assert packed["name"] == "beta 1" and payload["measured"] == 300
    assert torch.allclose(unpack(packed["many"]["loc"]), loc.flatten().double(), atol=1e-4)
    shown = torch.stack([unpack(image) for image in payload["images"][:3]])
    assert torch.allclose(shown, three.flatten(1).double())


def test_the_page_opens():
    with opened(PAGE) as browser:
        wait(browser)
        drawn = float(browser.execute_script("return document.documentElement.dataset.drawn"))
        assert drawn < 5000
        bring(browser, "bell")
        names = ("bell-log-evidence", "bell-elbo", "bell-gap")
        log_evidence, elbo, gap = (read_number(browser, name) for name in names)
        assert abs(log_evidence - elbo - gap) < 0.011 and gap > 0
        assert browser.get_log("browser") == []
