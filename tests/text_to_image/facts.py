"""How text-to-image models of a few thousand weights are built; nothing large is loaded to know it."""

from flowmap.data.facts import DataFacts
from flowmap.models import FluxFacts, Sd3Facts

PROMPTS = ("a blue cat", "a red cat", "a red dog on blue")
GRID = (1.0, 0.75, 0.5, 0.25, 0.0)
FACTS = FluxFacts(
    shape=(3, 16, 16),
    prompts=PROMPTS,
    latent=(4, 8, 8),
    heads=2,
    head_width=16,
    double_blocks=1,
    single_blocks=1,
    text_width=32,
    pooled_width=32,
    num_tokens=6,
    grid=GRID,
)
SD3_FACTS = Sd3Facts(
    shape=(3, 16, 16),
    prompts=PROMPTS,
    latent=(4, 8, 8),
    heads=2,
    head_width=16,
    blocks=2,
    dual=(0,),
    normed=True,
    places_side=6,
    text_width=48,
    pooled_width=20,
    num_tokens=6,
    clip_tokens=5,
    grid=GRID,
)
BOTH = (FACTS, SD3_FACTS)
DATA = DataFacts(
    modality="images",
    prompts=PROMPTS,
    shape=(3, 16, 16),
    num_read=9,
    num_duplicates=0,
    splits={},
    counts={},
    expectations=(),
)
