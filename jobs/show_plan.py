"""What people see of a plan."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from jobs.plain import plain
from schemas.forecast import Estimate, Forecast


def show_plan(forecast: Forecast, as_json: bool) -> None:
    """A plan, as one JSON document or as a table."""
    if as_json:
        print(forecast.model_dump_json())
        return
    console = Console(highlight=False)
    where = Text.assemble(
        "plan for ", (forecast.corpus, "bold"), " in ", plain(forecast.lake), "; nothing is written"
    )
    console.print(where, soft_wrap=True)
    console.print(_diff_line(forecast), soft_wrap=True)
    for code, count in forecast.skipped.quarantined.items():
        console.print(f"  unchanged, quarantined before: {count} x {code}")
    census = forecast.census
    if census.assets:
        console.print(_census_table(forecast))
        console.print(
            f"from a sample of {census.sampled} of {census.assets} assets, {decimal(census.sampled_bytes)} of "
            f"{decimal(census.bytes)}, in {census.seconds:.1f} s; 95 % intervals"
        )
    for code, estimate in census.quarantined.items():
        console.print(f"  would be quarantined: {_number(estimate)} x {code}")
    if census.moved.value:
        console.print(f"  would take the vectors of the same bytes elsewhere: {_number(census.moved)}")
    if census.assets:
        console.print(_cost_line(forecast), soft_wrap=True)
    for warning in forecast.warnings:
        console.print(Text(f"note: {plain(warning)}", "yellow"), soft_wrap=True)


def _diff_line(forecast: Forecast) -> str:
    s = forecast.skipped
    parts = {
        "new": forecast.new,
        "changed": forecast.changed,
        "unchanged": s.unchanged,
        "with new metadata": s.updated,
        "excluded": s.excluded,
        "deferred": s.deferred,
    }
    always = ("new", "changed", "unchanged")
    shown = ", ".join(f"{n} {name}" for name, n in parts.items() if n or name in always)
    return f"{forecast.listed} listed: {shown}; {forecast.deleted} to be deleted"


def _census_table(forecast: Forecast) -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("modality", "assets", "bytes", "segments", "tokens", "sampled"):
        table.add_column(name, justify="left" if name == "modality" else "right", overflow="fold")
    census = forecast.census
    for one in census.modalities:
        size = decimal(int(one.bytes.value))
        counts = (_number(one.assets), size, _number(one.segments), _number(one.tokens), str(one.sampled))
        table.add_row(str(one.modality), *counts)
    total = ("", decimal(census.bytes), _number(census.segments), _number(census.tokens), str(census.sampled))
    table.add_row("all", *total, style="bold")
    return table


def _cost_line(forecast: Forecast) -> str:
    rates, cost = forecast.rates, forecast.cost
    if rates is None or cost is None:
        return (
            "cost unknown: no earlier run of this model in the lake; try it here with --calibrate, or give "
            "--tokens-per-second of one GPU"
        )
    speeds = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.tokens_per_second.items())
    money = "" if cost.usd is None else f", {_fine(cost.usd)} USD"
    return f"{_fine(cost.actor_hours)} actor-hours{money} at {speeds} tokens/s an actor ({rates.source}: {rates.note})"


def _number(estimate: Estimate) -> str:
    whole = f"{estimate.value:,.0f}"
    return whole if estimate.low == estimate.high else f"{whole} ({estimate.low:,.0f}-{estimate.high:,.0f})"


def _fine(estimate: Estimate) -> str:
    value = f"{estimate.value:.3g}"
    return value if estimate.low == estimate.high else f"{value} ({estimate.low:.3g}-{estimate.high:.3g})"
