"""`embedlake train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.app import AsJson, app
from schemas.errors import Interrupted, UsageError


@app.command()
def train(
    training: Annotated[
        str,
        typer.Option(
            "--recipe", metavar="NAME|FILE", help="a training recipe of the project, or a YAML file"
        ),
    ],
    to: Annotated[
        Path, typer.Option(metavar="FOLDER", help="gets the weights, the checkpoints and the record")
    ],
    data: Annotated[
        Path,
        typer.Option(envvar="EMBEDLAKE_DATA", help="folder of packages and features; missing ones are made"),
    ] = Path(".data"),
    resume: Annotated[bool, typer.Option("--resume", help="continue the run that the folder holds")] = False,
    device: Annotated[str | None, typer.Option(help="as torch names it, else the best one")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="of the CPU, else all")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a fused model from packages; the folder is then a model for every other command."""
    from jobs.aside import stderr_aside
    from jobs.show_training import Watch, show
    from operators.model.device import pick_device
    from pipelines.training.recipe import load_recipe
    from pipelines.training.run import run_recipe

    recipe = load_recipe(training)
    if to.exists() and not to.is_dir():
        raise UsageError(f"'{to}' is a file: --to names a folder")
    if not resume and to.is_dir() and any(to.iterdir()):
        raise UsageError(f"'{to}' is not empty: --resume continues its run, or name another folder")
    pick_device(device, threads)
    with stderr_aside() as screen, Watch(screen, quiet=as_json) as watch:
        try:
            record = run_recipe(recipe, to, data, device=device, progress=watch)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command with --resume continues the run") from error
    show(record, to, as_json)
