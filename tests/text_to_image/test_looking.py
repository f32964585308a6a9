"""A checkpoint that will not do is refused before anything is encoded or trained, weights unseen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.s3_store import S3Store
from flowmap.data.pretrained import pretrained_at_hand
from flowmap.errors import ConfigError, DataError
from flowmap.settings import Checkpoint, RunConfig
from flowmap.settings.data import Captioned
from flowmap.steps.suiting import checkpoint_will_do
from flowmap.text_to_image.encoding import Encoder
from flowmap.text_to_image.parts import WHERE
from flowmap.text_to_image.publishing import write_pipeline
from tests.hub_server import COMMIT, NAME, Hub, serving
from tests.minio_server import MinioServer
from tests.text_to_image.facts import FACTS, GRID
from tests.text_to_image.test_checkpoints import cut_short, edited, pickled
from tests.text_to_image.tiny import tiny, write_stock


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def copy(stock: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stock, tmp_path / "copy"))


def config(source: str, encoder: str | None = None, **more: Any) -> RunConfig:
    """A checkpoint that is tuned; with an encoder one that is converted on pictures."""
    data: dict[str, Any] = {"prompts": "prompts.txt", "resize": [16, 16]}
    checkpoint: dict[str, Any] = {"source": source}
    if encoder is not None:
        data["captioned"] = {"source": "pictures", "encoder": {"source": encoder}}
        checkpoint["convert"] = True
    reward = {"kind": "python", "function": "a:b"}
    settings: dict[str, Any] = {
        "name": "x",
        "data_prep": data,
        "base_training": {"checkpoint": checkpoint},
        "grpo_finetuning": {"rewards": [reward]},
        "evaluation": {"rewards": [reward]},
    }
    for name, section in more.items():
        settings[name] = {**settings[name], **section}
    return RunConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            edited("model_index.json", _class_name="SanaPipeline"),
            "is a SanaPipeline, and only a FluxPipeline",
        ),
        (lambda folder: shutil.rmtree(folder / "text_encoder_2"), "has no text_encoder_2"),
        (pickled, "only pytorch_model.bin, which may run code"),
        (cut_short, "can't be read"),
        (edited("transformer/config.json", num_layers=3), "weights of the transformer are not as"),
        (edited("transformer/config.json", joint_attention_dim=64), "they are of different models"),
    ],
)
def test_what_is_wrong_with_it_is_told_at_once(
    copy: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    checkpoint_will_do(config(str(copy)), tmp_path / "scratch")
    spoil(copy)
    with pytest.raises(ConfigError, match=said):
        checkpoint_will_do(config(str(copy)), tmp_path / "scratch")


def test_pictures_that_do_not_come_out_even_are_told(stock: Path, tmp_path: Path) -> None:
    odd = config(str(stock), data_prep={"resize": [18, 16]})
    with pytest.raises(ConfigError, match=r"set data_prep.resize"):
        checkpoint_will_do(odd, tmp_path)


def test_ranks_that_hold_more_than_the_layers_are_told(stock: Path, tmp_path: Path) -> None:
    checkpoint_will_do(config(str(stock), grpo_finetuning={"lora": {"rank": FACTS.width - 1}}), tmp_path)
    with pytest.raises(ConfigError, match=rf"grpo_finetuning.lora.rank is {FACTS.width}, and the layers"):
        checkpoint_will_do(config(str(stock), grpo_finetuning={"lora": {"rank": FACTS.width}}), tmp_path)


def test_what_knows_two_times_is_not_converted(tmp_path: Path) -> None:
    write_pipeline(tiny(tmp_path / "tiny"), FACTS, GRID, tmp_path / "two")
    with pytest.raises(ConfigError, match="knows two times already"):
        checkpoint_will_do(config(str(tmp_path / "two"), str(tmp_path / "two")), tmp_path / "scratch")


def test_pictures_encoded_by_another_model_are_told_before_they_are(
    stock: Path, copy: Path, tmp_path: Path
) -> None:
    checkpoint_will_do(config(str(stock), str(copy)), tmp_path)
    checkpoint_will_do(config(str(stock), str(stock)), tmp_path)
    short = Path(shutil.copytree(copy, tmp_path / "short"))
    edited("tokenizer_2/tokenizer_config.json", model_max_length=4)(short)
    with pytest.raises(
        ConfigError, match=r"encoder reads 4 tokens of a text, and base_training.checkpoint 6"
    ):
        checkpoint_will_do(config(str(stock), str(short)), tmp_path)
    edited("vae/config.json", scaling_factor=3.0)(copy)
    with pytest.raises(ConfigError, match=r"captioned.encoder has another autoencoder than base_training"):
        checkpoint_will_do(config(str(stock), str(copy)), tmp_path)
    shutil.rmtree(copy / "vae")
    with pytest.raises(ConfigError, match=r"data_prep.captioned.encoder: .* has no vae"):
        checkpoint_will_do(config(str(stock), str(copy)), tmp_path)


def on_the_hub(**more: Any) -> RunConfig:
    named = {"checkpoint": {"source": NAME, "revision": COMMIT}}
    return config("unused", **{"base_training": named, **more})


def test_of_a_model_on_the_hub_no_weights_are_fetched_to_look_at_it(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub(copy), monkeypatch) as hub:
        checkpoint_will_do(on_the_hub(), tmp_path / "scratch")
        assert hub.asked
        assert not [name for name in hub.asked if name.endswith(".safetensors")]
        whole = pretrained_at_hand(
            Checkpoint(source=NAME, revision=COMMIT), WHERE, tmp_path / "whole", ["vae"]
        )
        weights = "vae/diffusion_pytorch_model.safetensors"
        assert (whole / weights).read_bytes() == (copy / weights).read_bytes()
        assert not (whole / "transformer").exists()
        pickled(copy)
        with pytest.raises(ConfigError, match=r"only pytorch_model\.bin, which may run code"):
            checkpoint_will_do(on_the_hub(), tmp_path / "again")
        encoder = {"captioned": {"source": "pictures", "encoder": {"source": str(copy)}}}
        convert = {"checkpoint": {"source": NAME, "revision": COMMIT, "convert": True}}
        (copy / "text_encoder" / "pytorch_model.bin").rename(copy / "text_encoder" / "model.safetensors")
        other = Path(shutil.copytree(copy, tmp_path / "other"))
        encoder["captioned"]["encoder"] = {"source": str(other)}
        checkpoint_will_do(on_the_hub(data_prep=encoder, base_training=convert), tmp_path / "third")
        edited("vae/config.json", scaling_factor=3.0)(other)
        with pytest.raises(
            ConfigError, match=r"captioned.encoder has another vae than .* by its config.json"
        ):
            checkpoint_will_do(on_the_hub(data_prep=encoder, base_training=convert), tmp_path / "fourth")


def test_what_encodes_reads_as_much_of_a_text_on_the_hub_as_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_tokens, folder = FACTS.num_tokens - 2, tmp_path / "pipeline"
    write_pipeline(tiny(tmp_path / "tiny"), FACTS, GRID, folder)
    edited("scheduler/flowmap.json", num_tokens=num_tokens)(folder)
    given = {"source": "pictures", "precision": "float32"}
    here = Captioned.model_validate({**given, "encoder": {"source": str(folder)}})
    there = Captioned.model_validate({**given, "encoder": {"source": NAME, "revision": COMMIT}})
    with serving(Hub(folder), monkeypatch):
        encoders = [Encoder.load(each, "x", tmp_path / "scratch", [(16, 16)]) for each in (here, there)]
    assert [each.texts.num_tokens for each in encoders] == [num_tokens] * 2
    assert encoders[0].digests == encoders[1].digests


def test_a_gated_model_wants_a_token_and_a_licence(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(Hub(copy, token="hf_sesame"), monkeypatch):
        with pytest.raises(ConfigError, match=r"agreed to its licence: agree on its page, and set HF_TOKEN"):
            checkpoint_will_do(on_the_hub(), tmp_path / "one")
        monkeypatch.setenv("HF_TOKEN", "hf_sesame")
        checkpoint_will_do(on_the_hub(), tmp_path / "two")


def test_names_and_commits_that_the_hub_does_not_have_are_told(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub(copy), monkeypatch):
        other = {"checkpoint": {"source": NAME, "revision": "f" * 40}}
        with pytest.raises(ConfigError, match=f"{NAME} on the Hugging Face hub has no commit ffff"):
            checkpoint_will_do(on_the_hub(base_training=other), tmp_path)
        nobody = {"checkpoint": {"source": "no/body", "revision": COMMIT}}
        with pytest.raises(ConfigError, match="there is no such model, or HF_TOKEN may not see it"):
            checkpoint_will_do(on_the_hub(base_training=nobody), tmp_path)


def test_a_checkpoint_in_a_store_is_what_it_is_on_a_disk(
    stock: Path, tmp_path: Path, minio: MinioServer
) -> None:
    url = f"s3://flowmap/checkpoints/looking?endpoint={minio.endpoint}"
    store = S3Store.from_url(url)
    for path in stock.rglob("*"):
        if path.is_file():
            store.put_file(path.relative_to(stock).as_posix(), path)
    checkpoint_will_do(config(url), tmp_path / "scratch")
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert not (tmp_path / "scratch" / "checkpoint" / weights).read_bytes()
    whole = pretrained_at_hand(Checkpoint(source=url), WHERE, tmp_path / "whole")
    assert (whole / weights).read_bytes() == (stock / weights).read_bytes()
    edited_index = json.loads((stock / "model_index.json").read_text()) | {"_class_name": "SanaPipeline"}
    store.put("model_index.json", json.dumps(edited_index).encode())
    with pytest.raises(ConfigError, match="is a SanaPipeline"):
        checkpoint_will_do(config(url), tmp_path / "again")
    gone = url.replace("looking", "nowhere")
    with pytest.raises(DataError, match=r"base_training.checkpoint: s3://.*nowhere.*: there is no such"):
        checkpoint_will_do(config(gone), tmp_path / "gone")
