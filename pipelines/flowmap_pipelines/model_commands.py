"""The commands about registered models: list them, sample from one, open a version's report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from flowmap_pipelines import alias_commands, options
from flowmap_pipelines.keys_commands import TRUSTED


@click.command()
@click.argument("model", metavar="NAME[@VERSION|@ALIAS]")
@options.ROOT
@options.STORE
@click.option(
    "-p", "--prompt", required=True, help="What to make; an unknown prompt lists those the model knows."
)
@click.option(
    "-n", "num", type=click.IntRange(1, 100_000), default=16, show_default=True, help="How many samples."
)
@click.option(
    "--steps", type=click.IntRange(1, 1000), help="Map evaluations a sample.  [default: as trained]"
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Equal seeds, equal samples."
)
@click.option(
    "-o", "--output", type=options.OutputFile(".npz", ".png"), required=True, help="A .npz or a .png file."
)
def sample(
    model: str,
    root: Path,
    store: str | None,
    prompt: str,
    num: int,
    steps: int | None,
    seed: int,
    output: Path,
) -> None:
    """Draw samples from a registered model; without @VERSION or @ALIAS from `production`, or from its base
    where no candidate has passed the gate yet. NAME@rejected is the candidate that was rejected last.

    A .npz file gets one array, `samples`, of shape (N, channels, height, width) with values around [-1, 1];
    a .png file gets a contact sheet.

    \b
        flowmap sample digits --prompt 3 -n 16 --steps 4 -o three.png
    """
    from flowmap.registry import Version
    from flowmap.settings import REJECTED
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_judged, instead_of_production
    from flowmap_pipelines.sampling import draw_samples, save_samples
    from flowmap_pipelines.trusting import check_usable

    models_in = store_of(root, store)
    version = find_judged(models_in, model)
    check_usable(models_in, version, model)
    if isinstance(version, Version) and (told := instead_of_production(models_in, model, version)):
        click.echo(told, err=True)
    samples = draw_samples(models_in, version, prompt=prompt, num=num, num_evaluations=steps, seed=seed)
    save_samples(samples, output)
    which = version.version if isinstance(version, Version) else REJECTED
    click.echo(f"wrote {num} samples of {version.name}@{which} to {output}")


@click.group(cls=options.OrElse, default="list")
def models() -> None:
    """List registered models, and say which version an alias points to.

    \b
        flowmap models
        flowmap models digits --json
        flowmap models list --html models.html
        flowmap models promote digits@3 --reason "4 draws no sevens"
        flowmap models rollback digits --reason "4 draws no sevens"
        flowmap models history digits
        flowmap models export digits digits-page --format web
        flowmap models card digits
        flowmap models import digits-3
    """


@models.command("list")
@click.argument("name", required=False)
@options.ROOT
@options.STORE
@click.option("--html", type=options.OutputFile(".html", ".htm"), help="Write it as a page to this file.")
@options.JSON
def list_(name: str | None, root: Path, store: str | None, html: Path | None, as_json: bool) -> None:
    """List versions, aliases, verdicts, digests, figures, and rejected candidates.

    \b
        flowmap models list --html models.html
    """
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import list_models, models_text

    there = store_of(root, store)
    found = list_models(there, name)
    if html is not None:
        from flowmap_pipelines.registry_page import write_registry_page

        write_registry_page(there, found, html)
        click.echo(f"wrote {html}", err=as_json)
        if not as_json:
            return
    click.echo(json.dumps(found, sort_keys=True) if as_json else models_text(found))


@models.command()
@click.argument("model", metavar="NAME[@VERSION|@ALIAS]")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@options.ROOT
@options.STORE
@click.option(
    "--format",
    "form",
    type=click.Choice(["diffusers", "onnx", "web", "kserve", "bundle", "files"]),
    help="diffusers for a text-to-image model and onnx for others, unless said.",
)
@click.option(
    "--runtime",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For web: onnxruntime-web as `npm pack` leaves it; npm fetches it otherwise.",
)
@click.option(
    "--image", metavar="NAME", help="For kserve: what its image will be called.  [default: NAME:VERSION]"
)
@options.SIGNING_KEY
def export(
    model: str,
    folder: Path,
    root: Path,
    store: str | None,
    form: str | None,
    runtime: Path | None,
    image: str | None,
    key: str | None,
) -> None:
    """Write a model into a new folder, for those who have no flowmap, or another store.

    As diffusers it is a pipeline of that library, its adapters in the folder `lora`. As onnx it is the whole
    sampler in one file, which onnxruntime runs without torch. As web it is a page, for any server of files,
    that draws in the visitor's browser. As kserve it is a server of the open inference protocol, with its
    image's Dockerfile and InferenceService. README.md in the folder says how to draw. As bundle it is the
    version with all its evidence, which `flowmap models import` takes into another store. As files it is
    what was published, with card and bill of materials. Signed, a folder has a model.sig, which OpenSSF's
    model_signing verifies: by --key, but as bundle and as files by those who signed what was published.

    \b
        flowmap models export digits digits-onnx
        flowmap models export digits digits-page --format web && python -m http.server -d digits-page
        flowmap models export tiny-flux tiny-flux-pipeline
        flowmap models export digits digits-served --format kserve --image registry.example/digits:3
        flowmap models export digits@3 digits-3 --format bundle
    """
    from flowmap_pipelines.exporting import export_model
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_judged
    from flowmap_pipelines.trusting import check_usable

    there = store_of(root, store)
    version = find_judged(there, model)
    check_usable(there, version, model)
    found = export_model(there, version, folder, form, runtime, image, key)
    click.echo(f"wrote {', '.join(found)} to {folder}")
    if form == "web":
        click.echo(f"to see it: python -m http.server -d {folder}")


@models.command("import")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@options.ROOT
@options.STORE
@TRUSTED
def import_(folder: Path, root: Path, store: str | None, trusted: Path | None) -> None:
    """Take the version of a bundle into this store, with all that it rests on.

    Every byte, record and link of it is checked before and after, and its signature where keys are trusted.
    It keeps its name and number; no alias moves, so `flowmap models promote` says when it is used.

    \b
        flowmap models export digits@3 digits-3 --format bundle --store s3://theirs/flowmap
        flowmap models import digits-3 --store s3://ours/flowmap --trusted theirs.pub
    """
    from flowmap.attestation.trust import read_trusted
    from flowmap_pipelines.bundle import read_bundle
    from flowmap_pipelines.local_run import store_of

    there = store_of(root, store)
    version = read_bundle(folder, there, None if trusted is None else read_trusted(trusted))
    called = f"{version.name}@{version.version}"
    click.echo(f"{called} is in {there.url}; to use it: flowmap models promote {called} --reason ...")


@models.command()
@click.argument("model", metavar="NAME[@VERSION|@ALIAS]")
@options.ROOT
@options.STORE
@click.option("--mlflow", metavar="URL", help="MLflow's tracking server, whose model registry it is.")
@click.option("--kubeflow", metavar="URL", help="Kubeflow's Model Registry.")
def register(model: str, root: Path, store: str | None, mlflow: str | None, kubeflow: str | None) -> None:
    """Tell another registry of a version: figures, digests, card, aliases, where it lies.

    Its files stay where they are. What was told before is found by its digest, and no second entry made.

    \b
        flowmap models register digits --mlflow http://mlflow:5000
        flowmap models register digits@3 --kubeflow http://model-registry:8080
    """
    from flowmap.documents.model_card import model_card
    from flowmap.registry import Registry
    from flowmap.reporting import kubeflow_registry, mlflow_registry
    from flowmap.reporting.registered import told_of
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_version
    from flowmap_pipelines.trusting import check_usable

    if mlflow is None and kubeflow is None:
        raise click.UsageError("--mlflow or --kubeflow says which registry")
    there = store_of(root, store)
    version = find_version(there, model)
    check_usable(there, version, model)
    told = told_of(Registry(there, version.name), version, model_card(there, version))
    for kind, url, take in (
        ("MLflow", mlflow, mlflow_registry.register),
        ("Kubeflow's Model Registry", kubeflow, kubeflow_registry.register),
    ):
        if url is not None:
            click.echo(f"{version.name}@{version.version} is {take(told, url)} in {kind} at {url}")


@models.command()
@click.argument("model", metavar="NAME[@VERSION|@ALIAS]")
@options.ROOT
@options.STORE
@click.option("-o", "--output", type=options.OutputFile(".md"), help="Write it here; else it is printed.")
def card(model: str, root: Path, store: str | None, output: Path | None) -> None:
    """Print a version's model card, as Hugging Face's hub reads them: figures, data, limits, evidence.

    \b
        flowmap models card digits -o README.md
    """
    from flowmap.documents.model_card import model_card
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_version

    there = store_of(root, store)
    text = model_card(there, find_version(there, model))
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"wrote {output}")


@click.command()
@click.argument("model", metavar="NAME[@VERSION|@ALIAS]")
@options.ROOT
@options.STORE
@click.option(
    "-o", "--output", type=options.OutputFile(".html", ".htm"), help="Write it here; else it opens."
)
def report(model: str, root: Path, store: str | None, output: Path | None) -> None:
    """Open the report of a registered version in a browser, or write it out as one HTML file.

    NAME@rejected is the candidate that was rejected last.
    """
    from flowmap.registry import Version
    from flowmap.registry.evaluation_result import read_report
    from flowmap.settings import REJECTED
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.model_list import find_judged
    from flowmap_pipelines.run_section import report_of

    there = store_of(root, store)
    version = find_judged(there, model)
    which = version.version if isinstance(version, Version) else REJECTED
    path = output or root / "reports" / f"{version.name}-{which}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(report_of(there, read_report(there, version.evaluation), version.evaluation))
    click.echo(f"wrote the report of {version.name}@{which} to {path}")
    if output is None:
        click.launch(str(path))


for command in (
    alias_commands.promote,
    alias_commands.rollback,
    alias_commands.retire,
    alias_commands.history,
    alias_commands.alias_,
):
    models.add_command(command)
