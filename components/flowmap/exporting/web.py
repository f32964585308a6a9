"""A page that draws from a model in the visitor's browser, in a folder that any server of files serves.

The map is an ONNX graph of a single evaluation, so that the page can choose how many there are;
onnxruntime-web runs it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from flowmap import page
from flowmap.errors import ConfigError
from flowmap.exporting.about import About
from flowmap.exporting.graph import condition_of, write_decoder, write_evaluation
from flowmap.maps import grid_for
from flowmap.models import ModelFacts
from flowmap.models.model import Model

# The runtime, by its package and what the registry of npm says of its bytes.
RUNTIME = "onnxruntime-web@1.30.0"
_INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_COUNTS = (1, 2, 3, 4, 6, 8)  # of evaluations, beside that of the model's own grid
_KINDS = ("images", "points")
_TEMPLATE = Path(__file__).with_name("page.html")
_FETCH_S = 300


def write_page(model: Model, facts: ModelFacts, about: About, runtime: Path | None, folder: Path) -> None:
    """Leaves `index.html`, the graphs, the condition of every prompt, and the runtime.

    Args:
        runtime: the package as `npm pack` leaves it; None lets npm fetch it.

    Raises:
        ConfigError: there is no picture of such data, the runtime can't be had, or a graph is too large.
        IntegrityError: the runtime is not the one meant, or a graph does not do what the model does.
    """
    if facts.modality not in _KINDS:
        raise ConfigError(
            f"a page draws {' and '.join(_KINDS)}, and {about.name} makes {facts.modality}: take --format "
            "onnx"
        )
    _unpack(runtime, folder / "runtime")
    inputs = write_evaluation(model, facts, folder / "map.onnx")
    decodes = getattr(model.codec, "vae", None) is not None
    if decodes:
        write_decoder(model, folder / "decode.onnx")
    table = condition_of(model, facts, len(facts.prompts))
    leaves, data = _packed(table)
    (folder / "conditions.bin").write_bytes(data)
    own = len(about.grid) - 1
    counts = sorted({*_COUNTS, own})
    told: dict[str, Any] = {
        "prompts": facts.prompts,
        "shape": facts.shape,
        "state": inputs["state"].shape[1:],
        "kind": facts.modality,
        "leaves": leaves,
        "grids": {count: grid_for(count, about.grid, model.shift) for count in counts},
        "own": own,
        "decodes": decodes,
    }
    (folder / "index.html").write_text(
        page.render(
            _TEMPLATE,
            model=about.name,
            digest=about.digest,
            parameters=facts.size().parameters,
            stochastic=facts.sampler is not None,
            prompts=facts.prompts,
            counts=counts,
            own=own,
            told=json.dumps(told).replace("<", "\\u003c"),
        )
    )
    about.write(folder, facts, runtime=RUNTIME)


def _packed(table: dict[str, Tensor]) -> tuple[list[dict[str, Any]], bytes]:
    """All leaves one behind the other, little-endian, and where each lies."""
    leaves, data = [], b""
    for name, leaf in table.items():
        integers = not leaf.is_floating_point()
        values = leaf.numpy().astype("<i8" if integers else "<f4")
        leaves.append({"name": name, "integers": integers, "shape": leaf.shape[1:], "offset": len(data)})
        data += np.ascontiguousarray(values).tobytes()
    return leaves, data


def _unpack(runtime: Path | None, folder: Path) -> None:
    folder.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        packed = runtime or _fetched(Path(scratch))
        found = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
        if found != _INTEGRITY:
            raise ConfigError(
                f"{packed.name} is not {RUNTIME}, whose SHA-512 is {_INTEGRITY}: it has {found}"
            )
        with tarfile.open(packed) as archive:
            for name in _FILES:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None, name  # of bytes that were checked
                with (folder / name).open("wb") as out:
                    shutil.copyfileobj(member, out)


def _fetched(folder: Path) -> Path:
    if shutil.which("npm") is None:
        raise ConfigError(
            f"a page needs {RUNTIME}, which npm fetches, and there is no npm here: run `npm pack {RUNTIME}` "
            "where there is one, and name the file that it leaves with --runtime"
        )
    try:
        done = subprocess.run(
            ["npm", "pack", RUNTIME, "--silent"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_FETCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"`npm pack {RUNTIME}` did not end within {_FETCH_S} s") from None
    packed = next(iter(folder.glob("*.tgz")), None)
    if done.returncode or packed is None:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ConfigError(f"`npm pack {RUNTIME}` failed: {last}")
    return packed
