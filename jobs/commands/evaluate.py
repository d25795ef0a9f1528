"""`embedlake evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.app import AsJson, Model, app


@app.command()
def evaluate(
    model: Model = None,
    sets: Annotated[
        list[str] | None, typer.Option(help="a retrieval set, again for more; all of them when none is named")
    ] = None,
    data: Annotated[
        Path,
        typer.Option(envvar="EMBEDLAKE_DATA", help="folder of the sets' packages; missing ones are fetched"),
    ] = Path(".data"),
    seed: Annotated[int, typer.Option(help="of the sets' samples and of the intervals")] = 0,
    queries: Annotated[
        int | None, typer.Option(min=1, help="most queries of a set, else the set's own")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="other systems beside the model")] = True,
    speed: Annotated[bool, typer.Option(help="measure speed beside stock libraries, too")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="of the CPU, else all")] = None,
    out: Annotated[Path | None, typer.Option(help="write the JSON document to this file, too")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model's retrieval, set by set and width by width, beside honest baselines."""
    from jobs.aside import stderr_aside
    from jobs.show_evaluation import show
    from operators.model.registry import DEFAULT_MODEL, resolve
    from pipelines.evaluation.run import evaluate_model, with_speed

    spec = resolve(model or DEFAULT_MODEL)
    with stderr_aside() as screen:

        def watch(doing: str) -> None:
            if not as_json:
                print(doing, file=screen, flush=True)

        report = evaluate_model(
            spec, data, sets or (), seed=seed, most=queries, baselines=baselines, threads=threads, watch=watch
        )
        if speed:
            watch("speed")
            report = with_speed(report, spec, data)
    document = report.model_dump_json(indent=2)
    if out is not None:
        out.write_text(f"{document}\n", encoding="utf-8")
    if as_json:
        print(document)
    else:
        show(report)
