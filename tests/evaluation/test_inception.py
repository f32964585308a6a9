"""FID is measured in the features, and by the formula, that torch-fidelity has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import feature_extractor_inceptionv3 as theirs

from flowmap.errors import ConfigError
from flowmap.evaluation.distances import frechet_distance
from flowmap.evaluation.features import features_of
from flowmap.settings import Pretrained

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With weights as that library keeps them; random ones, for the real ones are a download."""
    folder = tmp_path_factory.mktemp("inception")
    torch.manual_seed(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = theirs.FeatureExtractorInceptionV3("inception", ["2048"])
    torch.save(network.state_dict(), folder / "pt_inception-2015-12-05-6726825d.pth")
    return folder


class Levels(Dataset[Tensor]):
    """Pictures as that library reads them."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return ((self.pictures[index] + 1) * 127.5).round().to(torch.uint8)


def test_it_is_what_torch_fidelity_calls_fid(folder: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    one = torch.rand(6, 3, 24, 24, generator=draw) * 2 - 1
    other = (torch.rand(6, 3, 24, 24, generator=draw) * 2 - 1) * 0.3
    features = features_of(Pretrained(source=str(folder)), CPU)
    assert (features.frechet, features.are_clip) == ("FID", False)
    found = [features(each) for each in (one, other)]
    assert found[0].shape == (6, 2048)
    expected: dict[str, Any] = torch_fidelity.calculate_metrics(
        input1=Levels(one),
        input2=Levels(other),
        fid=True,
        feature_extractor_weights_path=str(folder / "pt_inception-2015-12-05-6726825d.pth"),
        cuda=False,
        verbose=False,
        batch_size=6,
        cache=False,
    )
    ours = frechet_distance(*(np.asarray(each, np.float64) for each in found))
    assert ours == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)


def test_grey_pictures_have_them_too(folder: Path) -> None:
    features = features_of(Pretrained(source=str(folder)), CPU)
    grey = torch.rand(2, 1, 8, 8) * 2 - 1
    torch.testing.assert_close(features(grey), features(grey.expand(-1, 3, -1, -1)))


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("run",))


@pytest.mark.parametrize("told", [{"fc.weight": torch.zeros(2)}, Harmful(), [1]])
def test_what_is_no_such_file_is_refused_and_runs_nothing(
    tmp_path: Path, told: object, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(told, tmp_path / "pt_inception-x.pth")
    with pytest.raises(ConfigError, match=r"evaluation.features: .* holds no weights of Inception v3: "):
        features_of(Pretrained(source=str(tmp_path)), CPU)
    assert "run" not in capsys.readouterr().out.split()
