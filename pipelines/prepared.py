"""The corpus' prepared media as a run sees them: which assets it reads from there, and what of them goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import lance
import polars as pl
import pyarrow as pa

from operators.lake.tables import Table
from operators.model.contract import ModelSpec
from operators.prepared.fit import ARCHIVE, KeptFor
from pipelines.donors import donor_key
from schemas.card import Role
from schemas.recipe import Recipe
from schemas.tables import ASSET_KIND, EMBEDDED, EXPANDED, KEPT_COLUMN, MOVED

_IDENTITY = ["uri", "size", "etag"]
_CONTENT = [*_IDENTITY, "content_hash"]
_READ = [*_IDENTITY, "container", "kind", "status", "segments", "ordinal", "kept_for"]
_HEAD = [*_CONTENT, "container", "status"]
_NAMES = ("uri", "container", "size", "etag", "mtime")
_ROWS = 32
_OBJECT = pl.coalesce("container", "uri").alias("object")


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run changes in a corpus' prepared media: fragments for its recipe's, and URIs that go, by table."""

    staged: list[str] = field(default_factory=list)
    gone: dict[str, list[str]] = field(default_factory=dict)


def with_kept(work: pa.Table, media: lance.LanceDataset, spec: ModelSpec, recipe: Recipe) -> pa.Table:
    """The work with the places of kept rows for each asset that can be read from there, null for the others.

    An asset can when what is kept is of the object that is listed, all of it, and fits the model; an archive when
    that is so of all that lies in it.

    Args:
        work: listing rows.
        media: prepared media of the recipe.
        spec: the model that is to read them.
        recipe: of the space.
    """
    wanted = pl.DataFrame(pl.from_arrow(work.select(_IDENTITY)))
    rows = _rows_of(media, wanted["uri"], "object")
    heads = rows.filter(pl.col("kind") == ASSET_KIND)
    whole = heads.filter(pl.col("container").is_null()).join(wanted, on=_IDENTITY, nulls_equal=True)
    lacking = heads.filter(~pl.col("kept_for").is_in(_fitting(heads["kept_for"].unique(), spec, recipe)))
    inside = heads.group_by("container").agg(pl.len().cast(pl.Int32).alias("inside"))
    short = whole.join(inside, left_on="uri", right_on="container", how="left").filter(
        (pl.col("status") == EXPANDED) & (pl.col("segments") != pl.col("inside").fill_null(0))
    )
    fit = whole.filter(~pl.col("uri").is_in([*lacking["object"], *short["uri"]]))
    places = (
        rows.filter(pl.col("object").is_in(fit["uri"].implode()))
        .sort(pl.col("uri") != pl.col("object"), "uri", pl.col("kind") != ASSET_KIND, "ordinal")
        .group_by("object", maintain_order=True)
        .agg(pl.col("place").alias(KEPT_COLUMN))
    )
    column = wanted.join(places, left_on="uri", right_on="object", how="left", maintain_order="left")
    return work.append_column(KEPT_COLUMN, column[KEPT_COLUMN].to_arrow().cast(pa.list_(pa.int64())))


def _rows_of(media: lance.LanceDataset, uris: pl.Series, by: str) -> pl.DataFrame:
    """The rows of these assets, or by `object` of what lies in them too, with their `place` and their `object`."""
    wanted, found, start = uris.implode(), [], 0
    for batch in media.scanner(columns=_READ, scan_in_order=True).to_batches():
        rows = pl.DataFrame(pl.from_arrow(batch)).with_row_index("place", offset=start)
        found.append(rows.with_columns(_OBJECT).filter(pl.col(by).is_in(wanted)))
        start += batch.num_rows
    empty = pl.DataFrame(pl.from_arrow(media.schema.empty_table().select(_READ)))
    return pl.concat([empty.with_row_index("place").with_columns(_OBJECT), *found])


def _fitting(made: pl.Series, spec: ModelSpec, recipe: Recipe) -> list[str]:
    """Of all that media were kept for, what this model can use."""
    counter, wants, good = spec.preparer(Role.DOCUMENT).counter, {}, [ARCHIVE]
    for text in made:
        if text == ARCHIVE:
            continue
        kept = KeptFor.model_validate_json(text)
        if kept.media not in wants:
            wants[kept.media] = KeptFor.of(kept.media, recipe, spec.card, counter)
        if kept.fits(wants[kept.media]):
            good.append(text)
    return good


@dataclass(frozen=True, slots=True)
class Media:
    """The prepared media of a run's recipe, as the run found them; `version` is None where nothing was ever kept."""

    table: Table
    version: int | None

    def open(self) -> lance.LanceDataset | None:
        """The table at the version."""
        return None if self.version is None else self.table.open(self.version)

    def heads(self) -> pl.DataFrame:
        """What is kept, asset by asset: `uri`, `container`, `size`, `etag`, `content_hash` and `status`."""
        media = self.open()
        if media is None:
            return pl.DataFrame(schema=dict.fromkeys(_HEAD, pl.String))
        rows = media.to_table(columns=_HEAD, filter=f"kind = '{ASSET_KIND}'")
        return pl.DataFrame(pl.from_arrow(rows))

    def carry(self, moved: pl.DataFrame) -> list[str]:
        """Stage the donors' rows anew for assets with their bytes.

        Args:
            moved: `uri`, `container`, `size`, `etag`, `mtime` and `donor`.
        """
        media = self.open()
        if media is None or not moved.height:
            return []
        found = _rows_of(media, moved["donor"].unique(), "uri")
        pairs = found.select("place", donor="uri").join(moved, on="donor").sort("uri", "place")
        reader = pa.RecordBatchReader.from_batches(media.schema, _renamed(media, pairs))
        return self.table.stage(reader)


def _renamed(media: lance.LanceDataset, pairs: pl.DataFrame) -> Iterator[pa.RecordBatch]:
    """The rows at `place` under the names of other assets, a few at a time."""
    for part in pairs.iter_slices(_ROWS):
        rows, own = media.take(part["place"].to_list()), part.to_arrow()
        for name in _NAMES:
            index, field = rows.schema.get_field_index(name), media.schema.field(name)
            rows = rows.set_column(index, field, own[name].cast(field.type))
        yield from rows.cast(media.schema).to_batches()


@dataclass(frozen=True, slots=True)
class Keeping:
    """What of a run's work is to be kept.

    `rows` are those to publish of what is staged: `uri`, `segment_id` (null for an asset's own row) and `receipt`, each
    once. `moved` take the rows of a `donor`.
    """

    rows: pl.DataFrame
    moved: pl.DataFrame

    @property
    def uris(self) -> pl.Series:
        """The assets that get rows."""
        return pl.concat([self.rows["uri"], self.moved["uri"]]).unique()


def keeping(rows: pl.DataFrame, ended: pl.DataFrame, heads: pl.DataFrame) -> Keeping:
    """Embedded assets all of whose rows are staged, moved ones whose content is kept, archives all or nothing.

    Args:
        rows: of a run's receipts, as `pipelines.reconcile.Attempts.rows`.
        ended: the final outcomes.
        heads: of what is kept, as `Media.heads`.
    """
    is_asset, key = pl.col("kind") == ASSET_KIND, ["uri", "content_hash"]
    kept = rows.filter(pl.col("kept").fill_null(False) & pl.col("error_code").is_null())
    once = kept.unique([*key, "segment_id"], keep="first", maintain_order=True)
    counts = once.filter(~is_asset).group_by(key).agg(pl.len().alias("there"))
    embedded, expanded, moved = (pl.col("status") == status for status in (EMBEDDED, EXPANDED, MOVED))
    staged = (
        ended.join(once.filter(is_asset), on=[*key, "status"], how="semi")
        .join(counts, on=key, how="left")
        .filter(expanded | (embedded & (pl.col("segments") == pl.col("there").fill_null(0))))
    )
    donors = heads.filter(embedded).group_by(_donor_key()).agg(pl.col("uri").min().alias("donor"))
    carried = ended.filter(moved).with_columns(_donor_key()).join(donors, on="donor_key").drop("donor_key")
    members = pl.concat([frame.select("container") for frame in (staged, carried)]).drop_nulls()
    inside = members.group_by("container").agg(pl.len().cast(pl.Int32).alias("inside"))
    archives = staged.filter(expanded & pl.col("container").is_null())
    archives = archives.join(inside, left_on="uri", right_on="container", how="left")
    whole = archives.filter(pl.col("segments") == pl.col("inside").fill_null(0))["uri"].implode()
    in_whole = pl.when(pl.col("container").is_null() & ~expanded).then(True)
    good = in_whole.otherwise(pl.coalesce("container", "uri").is_in(whole))
    return Keeping(
        once.join(staged.filter(good), on=key, how="semi").select("uri", "segment_id", "receipt"),
        carried.filter(good)
        .join(heads.cast({"size": pl.Int64}), on=_CONTENT, how="anti", nulls_equal=True)
        .select(*_NAMES, "donor"),
    )


def stale(heads: pl.DataFrame, replaced: Iterable[str], assets: pa.Table) -> list[str]:
    """Of what a run replaces or deletes, the assets whose kept media are not those of the object any more.

    Args:
        heads: of what is kept by any recipe, as `Media.heads`.
        replaced: URIs whose old rows go from the space.
        assets: final rows of the run.
    """
    now = pl.DataFrame(pl.from_arrow(assets.select([*_CONTENT, "status"])))
    valid = now.filter(pl.col("status").is_in([EMBEDDED, EXPANDED]))
    names = list(replaced)
    touched = heads.filter(pl.col("uri").is_in(names) | pl.col("container").is_in(names))
    return touched.join(valid, on=_CONTENT, how="anti", nulls_equal=True)["uri"].sort().to_list()


def kept_before(heads: pl.DataFrame, uris: pl.Series) -> list[str]:
    """Which of these assets have kept media already."""
    return heads.filter(pl.col("uri").is_in(uris.implode()))["uri"].sort().to_list()


def _donor_key() -> pl.Expr:
    return donor_key().alias("donor_key")
