"""What is in quarantine, why, and trying again exactly what somebody chose of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import polars as pl

from pipelines.embed import EmbedJob
from pipelines.listing import Selector
from pipelines.reader import LakeReader
from schemas.card import Frozen
from schemas.config import Selection
from schemas.errors import ErrorCode, LakeError, Stage, UsageError
from schemas.report import RunReport
from schemas.tables import QUARANTINED


class Quarantined(Frozen):
    """One asset without vectors, and the reason."""

    uri: str
    source: str
    container: str | None
    size: int | None
    etag: str | None
    mtime: datetime | None
    content_hash: str | None
    modality: str | None
    media_type: str | None
    error_stage: Stage
    error_code: ErrorCode
    error_detail: str | None
    run_id: str


class Chosen(Frozen):
    """Which of the quarantined are meant: what fits every filter that is given.

    `uris` are globs as in `Selection`; `since_run` means what that run and later ones put there.
    """

    codes: tuple[ErrorCode, ...] = ()
    stages: tuple[Stage, ...] = ()
    modalities: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    since_run: str | None = None


class Retried(Frozen):
    """A run over chosen assets, and how many of them are still in quarantine."""

    chosen: int
    still_quarantined: int
    report: RunReport


def listed(reader: LakeReader, corpus: str, chosen: Chosen = Chosen()) -> list[Quarantined]:  # noqa: B008 (frozen)
    """The chosen ones, by URI.

    Raises:
        LakeError: the corpus has no finished run of the name.
    """
    table = reader.assets(corpus).to_table(
        columns=list(Quarantined.model_fields), filter=f"status = '{QUARANTINED}'"
    )
    rows = pl.DataFrame(pl.from_arrow(table)).filter(_fits(reader, corpus, chosen)).sort("uri")
    return [Quarantined(**row) for row in rows.iter_rows(named=True)]


def shown(reader: LakeReader, corpus: str, uri: str) -> Quarantined:
    """One asset, by its URI or by a glob that fits no other.

    Raises:
        LakeError: none or several are in quarantine.
    """
    found = listed(reader, corpus, Chosen(uris=(uri,)))
    exact = [row for row in found if row.uri == uri] or found
    if len(exact) != 1:
        what = f"{len(exact)} assets fit '{uri}'" if exact else f"'{uri}' is not in quarantine"
        raise LakeError(f"{what} in corpus '{corpus}'; `embedlake quarantine list` names them")
    return exact[0]


def retry(job: EmbedJob, reader: LakeReader, chosen: Chosen) -> Retried | None:
    """Embed the chosen ones again, whatever their code; nothing else becomes new, changed or deleted.

    An archive is read again for the sake of a member; what is well in it keeps its vectors.

    Args:
        job: as for `embed`; without sources those are listed that the chosen assets came from.
        reader: the job's lake.
        chosen: which assets.

    Returns:
        None when nothing was chosen.

    Raises:
        UsageError: the job has a selection of its own.
        EmbedlakeError: as `EmbedJob.run`.
    """
    if job.selection != Selection():
        raise UsageError("a retry selects by what is in quarantine, not by --include, --since or --full")
    rows = listed(reader, job.corpus, chosen)
    if not rows:
        return None
    sources = job.sources or tuple(sorted({row.source for row in rows}))
    objects = dict.fromkeys(row.container or row.uri for row in rows)
    report = replace(job, sources=sources, selection=Selection(only=tuple(objects))).run()
    after = {row.uri for row in listed(LakeReader.open(job.lake, job.storage), job.corpus)}
    return Retried(chosen=len(rows), still_quarantined=sum(row.uri in after for row in rows), report=report)


def _fits(reader: LakeReader, corpus: str, chosen: Chosen) -> pl.Expr:
    fits = Selector(Selection(include=chosen.uris)).by_name()
    named: tuple[tuple[str, Sequence[str]], ...] = (
        ("error_code", chosen.codes),
        ("error_stage", chosen.stages),
        ("modality", chosen.modalities),
    )
    for column, values in named:
        if values:
            fits &= pl.col(column).is_in([str(value) for value in values])
    if chosen.since_run is not None:
        fits &= pl.col("run_id").is_in(_runs_since(reader, corpus, chosen.since_run))
    return fits


def _runs_since(reader: LakeReader, corpus: str, run_id: str) -> list[str]:
    runs = [report.run_id for report in reader.runs(corpus)]
    if run_id not in runs:
        raise LakeError(
            f"no finished run '{run_id}' of corpus '{corpus}'; its last is {runs[-1] if runs else 'none'}"
        )
    return runs[runs.index(run_id) :]
