"""What the cards of an exported model tell to do, done: code that draws what flowmap draws."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowmap.models import ADAPTERS, FluxFacts, TextToImageFacts
from flowmap.models.adapting import lay_adapters, write_adapters
from flowmap.models.model import Model
from flowmap.models.storing import load_model
from flowmap.settings import Checkpoint, Pretrained
from flowmap.text_to_image.checkpoints import take_over
from flowmap.text_to_image.publishing import write_adapters_card, write_pipeline
from flowmap.text_to_image.text import TextConditioner
from tests.hub_server import COMMIT
from tests.text_to_image.facts import BOTH, DATA, FACTS, GRID
from tests.text_to_image.tiny import tiny, write_stock

QUOTED = 'a sign that says "it\'s \\ open"'
GUIDED = FACTS.model_copy(update={"guided": True})
STOCKS = (*BOTH, GUIDED)


def told_of(card: Path) -> str:
    """The code of a card."""
    return card.read_text().partition("```python\n")[2].partition("```")[0]


def drawn_by(card: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The picture that its code leaves, run where it lies."""
    monkeypatch.chdir(card.parent)
    runpy.run_path(str(write_code(card)))
    return np.asarray(Image.open("sample.png"), dtype=np.float64)


def write_code(card: Path) -> Path:
    (file := card.with_suffix(".py")).write_text(told_of(card))
    return file


def ours(model: Model, facts: TextToImageFacts) -> np.ndarray:
    noise = torch.randn(1, *facts.latent, generator=torch.Generator().manual_seed(0))
    (sample,) = model.sample([facts.prompts[0]], noise, GRID)
    return np.asarray((127.5 * (sample.clamp(-1, 1) + 1)).permute(1, 2, 0), dtype=np.float64)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", STOCKS, ids=("flux", "sd3", "guided"))
def test_the_cards_of_a_checkpoint_that_stays_as_it_is(
    given: TextToImageFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DATA.model_copy(update={"prompts": (QUOTED, *DATA.prompts)})
    stock = write_stock(tmp_path / "stock", given)
    base = tmp_path / "base"
    base.mkdir()
    facts = take_over(Checkpoint(source=str(stock)), data, tmp_path, base)
    assert facts.told_guidance == (3.5 if given is GUIDED else 0.0)
    model = load_model(base, "map")
    plain = ours(model, facts)
    write_pipeline(model, facts, GRID, tmp_path / "out")
    assert np.abs(drawn_by(tmp_path / "out" / "README.md", monkeypatch) - plain).max() < 1
    lay_adapters(model, rank=2, alpha=8.0)
    for name, parameter in model.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = ours(model, facts)
    write_adapters(model.network, tmp_path / ADAPTERS)
    card = tmp_path / ADAPTERS / "README.md"
    write_adapters_card(facts, GRID, card.parent, Pretrained(source="some/one", revision=COMMIT))
    loaded = f"from_pretrained('some/one', torch_dtype=torch.float32, revision='{COMMIT}')"
    assert loaded in card.read_text()
    write_adapters_card(facts, GRID, card.parent, Pretrained(source=str(stock)))
    assert str(stock) not in card.read_text()
    card.write_text(card.read_text().replace("'FOLDER'", repr(str(stock))))
    assert np.abs(drawn_by(card, monkeypatch) - adapted).max() < 1
    assert np.abs(adapted - plain).max() > 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", BOTH, ids=lambda each: each.kind)
def test_the_card_of_a_map_of_two_times(
    given: TextToImageFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(tmp_path / "tiny", given)
    write_pipeline(model, given, GRID, tmp_path / "out")
    found = drawn_by(tmp_path / "out" / "README.md", monkeypatch)
    assert np.abs(found - ours(model, given)).max() < 1
    (tmp_path / "lora").mkdir()
    write_adapters_card(given, GRID, tmp_path / "lora", None)
    told = (tmp_path / "lora" / "README.md").read_text()
    assert "They belong to the base that they were trained on, exported as this was," in told
    assert "trust_remote_code=True" in told
    compile(told_of(tmp_path / "lora" / "README.md"), "card", "exec")


@pytest.mark.filterwarnings("ignore")
def test_clip_reads_what_it_has_places_for_whatever_t5_reads(tmp_path: Path) -> None:
    """As in every FLUX: 77 and 512."""
    facts = FACTS.model_copy(update={"num_tokens": 12})
    assert isinstance(facts, FluxFacts)
    stock = write_stock(tmp_path / "stock", facts)
    taken = take_over(Checkpoint(source=str(stock)), DATA, tmp_path, tmp_path)
    conditioner = load_model(tmp_path, "map").conditioner
    assert isinstance(conditioner, TextConditioner)
    encoders = conditioner.encoders
    assert taken.num_tokens == 12
    assert encoders.encoders[0].config.max_position_embeddings == 5
    assert encoders(["a red dog on blue and green and more"])[0].shape[1] == 12
