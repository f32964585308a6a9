"""Rewards that look at pictures with models of others: CLIP's, and vision-language models'."""

import base64
import io
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.s3_store import S3Store
from flowmap.errors import ConfigError, DataError, RewardError
from flowmap.rewards.building import Materials, build_rewards
from flowmap.rewards.clip import ClipReward
from flowmap.rewards.ocr import edit_distance
from flowmap.rewards.protocol import Explaining, Reward, Samples
from flowmap.rewards.sources import modules_of
from flowmap.rewards.vlm import VlmReward
from flowmap.settings import GrpoFinetuning, RunConfig
from flowmap.steps.dag import step_of
from flowmap.text_to_image.text import word_tokenizer
from tests.hub_server import COMMIT, NAME, Hub, serving
from tests.minio_server import MinioServer
from tests.rewards.conftest import Answer

PROMPTS = ["a red cat", "a blue dog"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of a few thousand weights, as transformers saves one."""
    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = word_tokenizer(PROMPTS, 8)
    text = {"vocab_size": len(words), "max_position_embeddings": 8, "eos_token_id": 1, "pad_token_id": 0}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config={**small, **text},
            vision_config={**small, "image_size": 24, "patch_size": 8},
            projection_dim=12,
        )
    )
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def samples() -> Samples:
    data = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Samples(data, PROMPTS)


def built(tmp_path: Path, **settings: Any) -> Reward:
    section = GrpoFinetuning.model_validate({"rewards": [settings]})
    return build_rewards(section.rewards, Materials(tmp_path, CPU))[0].reward


def write_head(path: Path, *sizes: int, prefix: str = "layers.") -> Path:
    torch.manual_seed(1)
    layers = enumerate(itertools.pairwise(sizes))
    save_file(
        {
            name: value
            for n, (inputs, outputs) in layers
            for name, value in (
                (f"{prefix}{2 * n}.weight", torch.randn(outputs, inputs)),
                (f"{prefix}{2 * n}.bias", torch.randn(outputs)),
            )
        },
        path,
    )
    return path


def test_the_aesthetic_mark_is_layers_on_clip_s_embedding(clip: Path, tmp_path: Path) -> None:
    head = write_head(tmp_path / "head.safetensors", 12, 5, 1)
    reward = built(tmp_path, kind="aesthetic", source=str(clip), head=str(head))
    found = reward.score(samples())
    looking = built(tmp_path, kind="clip", source=str(clip))
    assert isinstance(looking, ClipReward)
    weights = load_file(head)
    first = looking.embedded(samples()) @ weights["layers.0.weight"].T + weights["layers.0.bias"]
    expected = first @ weights["layers.2.weight"].T + weights["layers.2.bias"]
    torch.testing.assert_close(found, expected[..., 0])
    torch.testing.assert_close(found, reward.score(Samples(samples().data, ["a blue dog", "a red cat"])))
    plain = write_head(tmp_path / "plain.safetensors", 12, 5, 1, prefix="")
    torch.testing.assert_close(
        built(tmp_path, kind="aesthetic", source=str(clip), head=str(plain)).score(samples()), found
    )


def test_layers_that_do_not_fit_or_are_pickled_are_refused(clip: Path, tmp_path: Path) -> None:
    short = write_head(tmp_path / "short.safetensors", 7, 1)
    with pytest.raises(ConfigError, match=r"leads from 7 to 1, and from 12, the embedding of"):
        built(tmp_path, kind="aesthetic", source=str(clip), head=str(short))
    (tmp_path / "pickled.safetensors").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ConfigError, match=r"can't be read as safetensors .* weights_only=True"):
        built(tmp_path, kind="aesthetic", source=str(clip), head=str(tmp_path / "pickled.safetensors"))
    save_file({"layers.0.weight": torch.zeros(1, 12)}, tmp_path / "half.safetensors")
    with pytest.raises(ConfigError, match=r"has no layers.0.bias"):
        built(tmp_path, kind="aesthetic", source=str(clip), head=str(tmp_path / "half.safetensors"))
    with pytest.raises(ValidationError, match=r"write a file that ends with .safetensors"):
        built(tmp_path, kind="aesthetic", source=str(clip), head="sac+logos+ava1-l14-linearMSE.pth")


def test_clip_gives_its_own_scaled_cosine(clip: Path, tmp_path: Path) -> None:
    reward = built(tmp_path, kind="clip", source=str(clip))
    found = reward.score(samples())
    assert found.shape == (2, 3)
    model = CLIPModel.from_pretrained(clip).eval()
    assert isinstance(reward, ClipReward)
    ids = reward.tokenizer(PROMPTS, padding=True, return_tensors="pt")
    levels = (samples().data.flatten(0, 1) + 1) / 2
    fitted = torch.nn.functional.interpolate(levels, 24, mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (
        torch.tensor(each).view(3, 1, 1)
        for each in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    )
    with torch.no_grad():
        logits = model(pixel_values=(fitted - mean) / std, **ids).logits_per_image
    expected = torch.stack([logits[:3, 0], logits[3:, 1]])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_clip_can_be_differentiated(clip: Path, tmp_path: Path) -> None:
    drawn = samples()
    drawn.data.requires_grad_(True)
    built(tmp_path, kind="clip", source=str(clip)).score(drawn).sum().backward()
    assert drawn.data.grad is not None
    assert drawn.data.grad.abs().sum() > 0


def test_clip_refuses_what_it_can_not_use(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no CLIP model of transformers, but None"):
        built(tmp_path, kind="clip", source=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ConfigError, match=r"reward clip: .*safetensors"):
        built(tmp_path, kind="clip", source=str(tmp_path))
    points = Samples(torch.randn(1, 2, 2), ["a"])
    with pytest.raises(ConfigError, match="it looks at pictures"):
        built(tmp_path, kind="clip", source=str(clip)).score(points)


def test_pickscore_and_hps_are_such_models_under_their_own_names(clip: Path, tmp_path: Path) -> None:
    scores = [
        built(tmp_path, kind=kind, source=str(clip), revision=None).score(samples())
        for kind in ("clip", "pickscore", "hps")
    ]
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])
    rewards = [{"kind": "clip", "source": "a/b"}, {"kind": "pickscore"}, {"kind": "hps", "source": "a/c"}]
    named = RunConfig.model_validate({"name": "x", "grpo_finetuning": {"rewards": rewards}})
    assert [each.label for each in named.grpo_finetuning.rewards] == ["clip", "pickscore", "hps"]
    assert modules_of(named.grpo_finetuning.rewards) == ("flowmap.rewards.clip",)
    assert named.grpo_finetuning.rewards[1].model_dump()["source"] == "yuvalkirstain/PickScore_v1"


def test_a_model_in_a_store_is_what_it_is_on_a_disk(clip: Path, tmp_path: Path, minio: MinioServer) -> None:
    url = f"s3://flowmap/rewards/clip?endpoint={minio.endpoint}"
    store = S3Store.from_url(url)
    for path in clip.rglob("*"):
        if path.is_file():
            store.put_file(path.relative_to(clip).as_posix(), path)
    here, there = (
        built(tmp_path, kind="clip", source=source).score(samples()) for source in (str(clip), url)
    )
    assert torch.equal(here, there)
    head = write_head(tmp_path / "head.safetensors", 12, 1)
    store.put_file("head.safetensors", head)
    of_store = url.replace("rewards/clip", "rewards/clip/head.safetensors")
    marks = [
        built(tmp_path, kind="aesthetic", source=str(clip), head=where).score(samples())
        for where in (str(head), of_store)
    ]
    assert torch.equal(*marks)
    gone = url.replace("rewards/clip", "rewards/none")
    with pytest.raises(DataError, match=r"reward clip: s3://.*none.*: there is no such object"):
        built(tmp_path, kind="clip", source=gone)


def test_a_model_by_its_name_on_the_hub_is_what_it_is_on_a_disk(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub(clip), monkeypatch) as hub:
        by_name = built(tmp_path, kind="clip", source=NAME, revision=COMMIT).score(samples())
        assert "model.safetensors" in hub.asked
    assert torch.equal(by_name, built(tmp_path, kind="clip", source=str(clip)).score(samples()))


def test_another_model_is_another_result(clip: Path, tmp_path: Path) -> None:
    rewards = [{"kind": "clip", "source": str(clip)}]
    config = RunConfig.model_validate({"name": "x", "grpo_finetuning": {"rewards": rewards}})
    store, step = LocalStore(tmp_path), step_of("grpo_finetuning")
    before = step.extra_inputs(config, store, {})
    (clip / "added.json").write_text("{}")
    assert before["reward clip"] != step.extra_inputs(config, store, {})["reward clip"]
    gone = [{"kind": "clip", "source": "someone/clip"}]
    config = RunConfig.model_validate({"name": "x", "grpo_finetuning": {"rewards": gone}})
    with pytest.raises(DataError, match="reward clip: there is no folder someone/clip, and as a name on"):
        step.extra_inputs(config, store, {})


def completion(content: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}}]}


def test_a_vision_language_model_sees_each_picture_with_its_question(
    serve: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWMAP_VLM_KEY", "sesame")
    seen: list[dict[str, Any]] = []

    def answer(asked: dict[str, Any]) -> tuple[int, Any]:
        seen.append(asked)
        text, image = asked["messages"][0]["content"]
        data = base64.b64decode(image["image_url"]["url"].partition("base64,")[2])
        red = Image.open(io.BytesIO(data)).getpixel((0, 0))
        assert isinstance(red, tuple)
        return 200, completion(json.dumps({"mark": red[0] / 25.5 if "cat" in text["text"] else 12}))

    drawn = samples()
    found = built(tmp_path, kind="vlm", url=serve(answer) + "v1", model="looker").score(drawn)
    levels = ((drawn.data[0, :, 0, 0, 0] + 1) / 2).mul(255).round() / 255
    torch.testing.assert_close(found[0], levels)
    assert found[1].tolist() == [1, 1, 1]  # no mark is above 10
    assert {each["path"] for each in seen} == {"/v1/chat/completions"}
    assert {each["key"] for each in seen} == {"Bearer sesame"}
    assert {each["model"] for each in seen} == {"looker"}
    assert seen[0]["response_format"]["type"] == "json_schema"


def test_an_answer_without_a_mark_is_no_verdict(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    said = iter(["I like it", json.dumps({"mark": None}), json.dumps({"mark": 5}), *["{}"] * 3])
    url = serve(lambda asked: (200, completion(next(said))))
    found = built(tmp_path, kind="vlm", url=url, model="looker", concurrency=1).score(samples())
    assert [math.isnan(each) for each in found.flatten().tolist()] == [True, True, False, True, True, True]


def test_a_vision_language_model_that_is_away_for_a_moment_is_asked_again(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    statuses = iter([503, 429, 500])

    def answer(asked: dict[str, Any]) -> tuple[int, Any]:
        status = next(statuses, 200)
        return (status, completion(json.dumps({"mark": 5}))) if status == 200 else (status, b"busy")

    reward = built(tmp_path, kind="vlm", url=serve(answer), model="looker", concurrency=1, tries=4)
    assert isinstance(reward, VlmReward)
    reward.service.first_pause_s = 0.01
    assert reward.score(samples()).flatten().tolist() == [0.5] * 6
    statuses = iter([503] * 4)
    with pytest.raises(RewardError, match="answered 503, 4 times"):
        reward.score(samples())


def test_a_service_that_is_none_is_said(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    url = serve(lambda asked: (200, {"detail": "hello"}))
    with pytest.raises(RewardError, match="answered no chat completion but"):
        built(tmp_path, kind="vlm", url=url, model="looker").score(samples())
    url = serve(lambda asked: (404, {"error": "no such model"}))
    with pytest.raises(RewardError, match=r"answered 404: .*no such model"):
        built(tmp_path, kind="vlm", url=url, model="looker").score(samples())


def written(text: str, side: int = 64) -> torch.Tensor:
    picture = Image.new("RGB", (3 * side, side), "white")
    ImageDraw.Draw(picture).text((8, side // 5), text, fill="black", font=ImageFont.load_default(side // 2))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 127.5 - 1


def test_text_is_read_off_pictures(tmp_path: Path) -> None:
    data = torch.stack([written("hello"), written("help"), torch.ones(3, 64, 192)])
    both = Samples(torch.stack([data, data]), ['a sign that says "Hello"', "a plain sign"])
    found = built(tmp_path, kind="ocr").score(both)
    assert found[0, 0] == 1
    assert found[0, 1] == pytest.approx(1 - 2 / 5)
    assert found[0, 2] == 0
    assert found[1].isnan().all()  # nothing was asked for
    asked = Samples(data[None], ["a sign"], [{"text": "HELP"}])
    assert built(tmp_path, kind="ocr").score(asked)[0].tolist() == [pytest.approx(1 - 2 / 4), 1, 0]


def test_what_is_read_is_told(tmp_path: Path) -> None:
    reward = built(tmp_path, kind="ocr")
    assert isinstance(reward, Explaining)
    data = torch.stack([written("hello"), written("help"), torch.ones(3, 64, 192)])
    both = Samples(torch.stack([data, data]), ['a sign that says "Hello"', "a plain sign"])
    told = [{"reads “hello”": True}, {"reads “help”": False}, {"reads nothing": False}]
    assert reward.met(both) == [told, [{}, {}, {}]]


def test_small_pictures_are_read_as_one_line(tmp_path: Path) -> None:
    drawn = Samples(written("yes", 32)[None, None], ['"yes"'])
    assert built(tmp_path, kind="ocr").score(drawn).tolist() == [[1]]


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_the_distance_counts_edits(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == distance
