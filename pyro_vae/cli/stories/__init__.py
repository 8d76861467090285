"""The pairs of the command line by name."""

from pyro_vae.cli.parts import Config, find
from pyro_vae.cli.stories import (
    clusters,
    conditional,
    hierarchical,
    labelled,
    multimodal,
    sequence,
    table,
    topics,
    vae,
)
from pyro_vae.cli.stories.story import Story as Story

PAIRS: dict[str, Story] = {
    "vae": vae.STORY,
    "hierarchical": hierarchical.STORY,
    "labelled": labelled.STORY,
    "sequence": sequence.STORY,
    "multimodal": multimodal.STORY,
    "table": table.STORY,
}
STORIES = [*PAIRS.values(), conditional.STORY, clusters.STORY, topics.STORY]
# the options that not every pair has
OWN_OPTIONS = sorted({name for story in STORIES for name in story.options})


def choose_story(config: Config) -> Story:
    """The story of the pair that a configuration names."""
    story = find(PAIRS, "pair", config["pair"])
    if story is vae.STORY and config["condition"] is not None:
        return conditional.STORY
    if story is vae.STORY and config["network"] == "topics":
        return topics.STORY
    if story is labelled.STORY and config["labels"] == 0:
        return clusters.STORY
    return story
