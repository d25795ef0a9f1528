"""A comparison of two spaces for people: lines, and one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from schemas.compare import Comparison, Mover, SpaceSummary

_STYLE = (
    "body{font:15px system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.25rem .7rem;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:top}.bad{color:#a00}.good{color:#060}"
    "td{overflow-wrap:anywhere}img{display:block}"
    ".movers td{font-size:13px}.movers td:nth-child(2){min-width:11rem}.movers td:nth-child(n+5){min-width:15rem}"
)


def show(found: Comparison, as_json: bool) -> None:
    """The verdict and the numbers that it rests on."""
    if as_json:
        return print(found.model_dump_json())
    console = Console(highlight=False, markup=False)
    lines = [f"{found.new.space} against {found.old.space}: coverage {found.coverage:.1%}"]
    lines += [
        f"  {one.modality}: {one.overlap:.1%} of the {one.k} nearest are the same "
        f"(width {one.old_width} to {one.new_width}, {one.sampled} assets)"
        for one in found.overlaps
    ]
    lines += [
        f"  golden queries, {score.space} at {score.width}: nDCG@10 {score.ndcg_at_10:.3f}, "
        f"recall@10 {score.recall_at_10:.3f}"
        for score in found.golden
    ]
    lines += [f"  {line}" for line in _half_moved(found)]
    lines += [f"  not passed: {failure}" for failure in found.failures]
    lines.append("the gate refuses it" if found.failures else "the gate lets it pass")
    return console.print("\n".join(lines), soft_wrap=True)


def _half_moved(found: Comparison) -> list[str]:
    """How golden queries fare in the middle of the migration; the bridge is named where it helps."""
    half = found.half_moved
    if half is None:
        return []
    lines = [f"golden queries with half moved, search --spaces: nDCG@10 {half.calibrated:.3f}"]
    if half.bridge_helps:
        lines.append(f"with --bridge it is {half.bridged:.3f}")
    return lines


def page(found: Comparison) -> str:
    """The report as HTML; every value from the lake is escaped."""
    verdict = "".join(f"<li class=bad>{escape(text)}</li>" for text in found.failures)
    parts = [
        f"<h1>{escape(found.corpus)}: {escape(found.new.space)} against {escape(found.old.space)}</h1>",
        f"<p>{found.at:%Y-%m-%d %H:%M} UTC, seed {found.seed}, coverage {found.coverage:.1%}</p>",
        f"<ul>{verdict}</ul>" if verdict else "<p class=good>The gate lets it pass.</p>",
        "<h2>Coverage</h2>",
        _table(
            ("modality", "embedded in old", "held by new", "embedded in new"),
            ((c.modality, c.old, c.held, c.embedded) for c in found.coverage_by_modality),
        ),
        "<h2>Same neighbours</h2>",
        _bars([(f"{o.modality}, {o.old_width} to {o.new_width}", o.overlap) for o in found.overlaps]),
        "<h2>Golden queries: nDCG@10</h2>" if found.golden else "",
        _bars([(f"{s.space} at {s.width}", s.ndcg_at_10) for s in found.golden]),
        "<h2>Golden queries: recall@10</h2>" if found.golden else "",
        _bars([(f"{s.space} at {s.width}", s.recall_at_10) for s in found.golden]),
        "".join(f"<p>{escape(line)}</p>" for line in _half_moved(found)),
        "<h2>Vectors</h2>",
        _health(found.old),
        _health(found.new),
        "<h2>Cost</h2>",
        _table(
            ("space", "model", "segments", "runs", "tokens", "actor-seconds", "bytes"),
            (
                (s.space, s.model, s.segments, s.cost.runs, s.cost.tokens, s.cost.actor_seconds, s.cost.bytes)
                for s in (found.old, found.new)
            ),
        ),
        "<h2>Biggest movers</h2>",
        _movers(found.movers),
    ]
    title = f"<title>{escape(found.new.space)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><meta charset=utf-8>{title}" + "\n".join(parts) + "\n"


def _movers(movers: Iterable[Mover]) -> str:
    """Names in the columns of neighbours begin where those of all assets here part."""
    shown = list(movers)
    folders = [uri.split("/")[:-1] for m in shown for uri in (m.uri, *m.old_neighbours, *m.new_neighbours)]
    common = [
        names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
    ]
    root = "/".join([*common, ""]) if common else ""
    rows = (
        (
            _Html(f'<img alt="" src="data:image/jpeg;base64,{escape(m.thumbnail)}">' if m.thumbnail else ""),
            m.uri.removeprefix(root),
            f"{m.overlap:.0%}",
            m.preview,
            "\n".join(uri.removeprefix(root) for uri in m.old_neighbours),
            "\n".join(uri.removeprefix(root) for uri in m.new_neighbours),
        )
        for m in shown
    )
    head = ("", "asset", "overlap", "preview", "nearest before", "nearest now")
    where = f"<p>Below {escape(root)}</p>" if root else ""
    return f"{where}<div class=movers>{_table(head, rows)}</div>"


class _Html(str):
    """A cell that is HTML already."""


def _health(one: SpaceSummary) -> str:
    names = ("width", "sampled", "not_finite", "off_unit", "same_vector", "mean_cosine", "effective_rank")
    rows = ([f"{getattr(h, name):.4g}" for name in names] for h in one.health)
    return f"<h3>{escape(one.space)}</h3>" + _table([name.replace("_", " ") for name in names], rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(value: Any) -> str:
    return value if isinstance(value, _Html) else escape(str(value)).replace("\n", "<br>")


def _bars(values: list[tuple[str, float]]) -> str:
    if not values:
        return ""
    lines = [
        f'<text x="0" y="{20 * n + 14}">{escape(name)}</text>'
        f'<rect x="420" y="{20 * n + 3}" width="{max(0.0, value) * 300:.1f}" height="13" fill="#48c"/>'
        f'<text x="{425 + max(0.0, value) * 300:.1f}" y="{20 * n + 14}">{value:.3f}</text>'
        for n, (name, value) in enumerate(values)
    ]
    return f'<svg width="800" height="{20 * len(values) + 6}" font-size="13">{"".join(lines)}</svg>'
