"""The pairs of the command line by name."""

from pyro_vae.cli.parts import Config, find
from pyro_vae.cli.stories import conditional, hierarchical, labelled, multimodal, sequence, vae
from pyro_vae.cli.stories.story import Story as Story

PAIRS: dict[str, Story] = {
    "vae": vae.STORY,
    "hierarchical": hierarchical.STORY,
    "labelled": labelled.STORY,
    "sequence": sequence.STORY,
    "multimodal": multimodal.STORY,
}
# the options that not every pair has
OWN_OPTIONS = sorted({name for story in PAIRS.values() for name in story.options})


def choose_story(config: Config) -> Story:
    """The story of the pair that a configuration names."""
    story = find(PAIRS, "pair", config["pair"])
    if story is vae.STORY and config["condition"] is not None:
        return conditional.STORY
    return story
