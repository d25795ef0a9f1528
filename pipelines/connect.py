"""Ready lines of Python, or of SQL, that read a space of a lake or an export of it in other tools.

They hold no secret: credentials are found in the environment, as each tool does by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from operators.export.target import Target
from operators.lake.tables import LIVE_TAG, Table
from operators.storage import Storage, explained, join, normalize, scheme
from pipelines.reader import LakeReader
from schemas.errors import LakeError, UsageError
from schemas.export import DType, Tool
from schemas.space import embedding_column


@dataclass(frozen=True, slots=True)
class LancePlace:
    """A space's table at what a reader pins: the tag that moves with each publication, or a version."""

    uri: str
    pin: str | int
    width: int
    storage: Storage

    @property
    def opened(self) -> str:
        """The expression that opens it."""
        options = _lance_options(self.storage, self.uri)
        more = f", storage_options={options!r}" if options else ""
        return f"lance.dataset({self.uri!r}, version={self.pin!r}{more})"


@dataclass(frozen=True, slots=True)
class ParquetPlace:
    """An export."""

    uri: str
    width: int
    dtype: DType
    storage: Storage

    @property
    def on_s3(self) -> bool:
        """Whether it needs a filesystem."""
        return scheme(self.uri) == "s3"

    @property
    def filesystem(self) -> str:
        """The lines that make `fs`."""
        given: dict[str, object] = {"region": self.storage.signing_region}
        if endpoint := _endpoint(self.storage):
            given |= {"endpoint_override": endpoint.partition("://")[2], "scheme": scheme(endpoint)}
        if self.storage.config.anonymous:
            given["anonymous"] = True
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"from pyarrow.fs import S3FileSystem\n\nfs = S3FileSystem({told})\n"


def lance_place(
    reader: LakeReader, corpus: str, space: str, *, pinned: bool = False, width: int | None = None
) -> LancePlace:
    """A space of a corpus, by its tag `live`, or by its version when `pinned` or when it has no tag."""
    uri = reader.layout.space(corpus, space)
    version = reader.catalog.corpora[corpus].spaces[space].version
    tagged = LIVE_TAG in Table(uri, reader.storage).open().tags.list()
    widest = reader.space(corpus, space).widths[0]
    return LancePlace(uri, version if pinned or not tagged else LIVE_TAG, width or widest, reader.storage)


def parquet_place(target: str, storage: Storage = Storage()) -> ParquetPlace:
    """An export, as its manifest says.

    Raises:
        LakeError: there is none.
    """
    uri = normalize(target)
    with explained(uri, LakeError):
        manifest = Target(uri, storage).manifest()
    if manifest is None or manifest.source is None:
        raise LakeError(f"no export at {uri}: `embedlake export --to {uri}` makes one")
    return ParquetPlace(uri, manifest.spec.widths[0], manifest.spec.dtype, storage)


def lines(tool: Tool, place: LancePlace | ParquetPlace) -> str:
    """What to type.

    Raises:
        UsageError: the tool cannot read that.
    """
    if isinstance(place, LancePlace):
        if tool not in _LANCE:
            raise UsageError(
                f"{tool} reads Parquet: `embedlake export --to TARGET`, then `embedlake connect --tool {tool} "
                f"--export TARGET`"
            )
        return _LANCE[tool](place)
    if tool not in _PARQUET:
        raise UsageError(f"{tool} reads the lake itself: leave --export out")
    if tool in _NO_FLOAT16 and place.dtype is DType.FLOAT16:
        raise UsageError(f"{tool} cannot read float16: export with --dtype float32 or int8")
    return _PARQUET[tool](place)


def written(place: LancePlace | ParquetPlace, tool: Tool | None) -> dict[str, str]:
    """The lines by tool: of one, or of every one that can read it.

    Raises:
        UsageError: the named tool cannot.
    """
    if tool is not None:
        return {tool.value: lines(tool, place)}
    narrow = isinstance(place, ParquetPlace) and place.dtype is DType.FLOAT16
    known: list[Tool] = list(_LANCE if isinstance(place, LancePlace) else _PARQUET)
    return {one.value: lines(one, place) for one in known if not (narrow and one in _NO_FLOAT16)}


def _from_lance(imports: str, body: str) -> Callable[[LancePlace], str]:
    def made(place: LancePlace) -> str:
        asked = body.format(column=embedding_column(place.width))
        return f"{imports}import lance\n\nsegments = {place.opened}\n{asked}"

    return made


def _lancedb(place: LancePlace) -> str:
    folder, _, name = place.uri.removesuffix(".lance").rpartition("/")
    options = _lance_options(place.storage, place.uri)
    more = f", storage_options={options!r}" if options else ""
    return (
        f"import lancedb\n\nsegments = lancedb.connect({folder!r}{more}).open_table({name!r})\n"
        f"segments.checkout({place.pin!r})\n"
        f'print(segments.search().select(["uri", "text"]).limit(5).to_arrow().to_pylist())\n'
    )


def _duckdb(place: ParquetPlace) -> str:
    column = embedding_column(place.width)
    select = f"SELECT uri, text, {column}::FLOAT[{place.width}] AS {column} FROM {{}} LIMIT 5"  # noqa: S608 - printed
    if place.on_s3:
        return f"import duckdb\n{_dataset(place)}print(duckdb.sql({select.format('segments')!r}))\n"
    files = f"read_parquet({_sql(join(place.uri, '**/*.parquet'))})"
    return f"import duckdb\n\nprint(duckdb.sql({select.format(files)!r}))\n"


def _polars(place: ParquetPlace) -> str:
    more = ""
    if place.on_s3:
        options = {"aws_region": place.storage.signing_region}
        if endpoint := _endpoint(place.storage):
            allow = str(endpoint.startswith("http://")).lower()
            options |= {"aws_endpoint_url": endpoint, "aws_allow_http": allow}
        if place.storage.config.anonymous:
            options["aws_skip_signature"] = "true"
        more = f", storage_options={options!r}"
    return (
        f"import polars as pl\n\nsegments = pl.scan_parquet({join(place.uri, '**/*.parquet')!r}{more})\n"
        f'print(segments.select("uri", "text").head(5).collect())\n'
    )


def _pandas(place: ParquetPlace) -> str:
    where = f"{place.uri[5:]!r}, filesystem=fs" if place.on_s3 else f"{place.uri!r}"
    return (
        f"import pandas as pd\n{place.filesystem if place.on_s3 else ''}\n"
        f'segments = pd.read_parquet({where}, partitioning=None, columns=["uri", "text"])\nprint(segments.head(5))\n'
    )


def _pyarrow(place: ParquetPlace) -> str:
    return f'{_dataset(place)}print(segments.head(5, columns=["uri", "text"]).to_pylist())\n'


def _datafusion(place: ParquetPlace) -> str:
    ask = "context.sql('SELECT uri, text FROM segments LIMIT 5')"
    register = (
        f'{_dataset(place)}context = SessionContext()\ncontext.register_dataset("segments", segments)\n'
        if place.on_s3
        else f'\ncontext = SessionContext()\ncontext.register_parquet("segments", {place.uri!r})\n'
    )
    return f"from datafusion import SessionContext\n{register}print({ask}.to_pydict())\n"


def _spark(place: ParquetPlace) -> str:
    uri, more = place.uri, ""
    if place.on_s3:
        uri = f"s3a://{place.uri[5:]}"
        if endpoint := _endpoint(place.storage):
            more = (
                f'.config("spark.hadoop.fs.s3a.endpoint", {endpoint!r})'
                '.config("spark.hadoop.fs.s3a.path.style.access", "true")'
            )
    return (
        f"from pyspark.sql import SparkSession\n\nspark = SparkSession.builder{more}.getOrCreate()\n"
        f'segments = spark.read.parquet({uri!r})\nprint(segments.select("uri", "text").limit(5).collect())\n'
    )


def _bigquery(place: ParquetPlace) -> str:
    files = json.dumps(f"gs://BUCKET/{place.uri.rpartition('/')[2]}/*.parquet")
    return (
        f"-- BigQuery reads Cloud Storage: first copy {json.dumps(place.uri)} there (gcloud storage rsync -r)\n"
        f"CREATE OR REPLACE EXTERNAL TABLE DATASET.segments OPTIONS (\n"
        f"  format = 'PARQUET', enable_list_inference = true, uris = [{files}]);\n"
        f"SELECT uri, text FROM DATASET.segments LIMIT 5;\n"
    )


def _dataset(place: ParquetPlace) -> str:
    """`segments` from `_metadata`: one export, whatever ends while it is read."""
    uri = join(place.uri, "_metadata")
    if not place.on_s3:
        return f"import pyarrow.dataset as ds\n\nsegments = ds.parquet_dataset({uri!r})\n"
    opened = f"ds.parquet_dataset({uri[5:]!r}, filesystem=fs)"
    return f"import pyarrow.dataset as ds\n{place.filesystem}segments = {opened}\n"


def _lance_options(storage: Storage, uri: str) -> dict[str, str]:
    if scheme(uri) != "s3":
        return {}
    options = {"aws_region": storage.signing_region}
    if endpoint := _endpoint(storage):
        options |= {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
    if storage.config.anonymous:
        options["aws_skip_signature"] = "true"
    return options


def _endpoint(storage: Storage) -> str | None:
    """The endpoint without a name and password that somebody may have put into it."""
    if storage.endpoint_url is None:
        return None
    head, _, rest = storage.endpoint_url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{head or 'https'}://{host.rpartition('@')[2]}{slash}{path}"


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_NO_FLOAT16 = (Tool.SPARK, Tool.BIGQUERY)
_LANCE: dict[Tool, Callable[[LancePlace], str]] = {
    Tool.DUCKDB: _from_lance(
        "import duckdb\n", 'print(duckdb.sql("SELECT uri, text FROM segments LIMIT 5"))\n'
    ),
    Tool.POLARS: _from_lance(
        "import polars as pl\n",
        'print(pl.scan_pyarrow_dataset(segments).select("uri", "text").head(5).collect())\n',
    ),
    Tool.PANDAS: _from_lance("", 'print(segments.to_table(columns=["uri", "text"], limit=5).to_pandas())\n'),
    Tool.PYARROW: _from_lance("", 'print(segments.to_table(columns=["uri", "{column}"], limit=5))\n'),
    Tool.LANCEDB: _lancedb,
    Tool.DATAFUSION: _from_lance(
        "from datafusion import SessionContext\n",
        'context = SessionContext()\ncontext.register_table("segments", lance.FFILanceTableProvider(segments))\n'
        "print(context.sql('SELECT uri, text FROM segments LIMIT 5').to_pydict())\n",
    ),
}
_PARQUET: dict[Tool, Callable[[ParquetPlace], str]] = {
    Tool.DUCKDB: _duckdb,
    Tool.POLARS: _polars,
    Tool.PANDAS: _pandas,
    Tool.PYARROW: _pyarrow,
    Tool.DATAFUSION: _datafusion,
    Tool.SPARK: _spark,
    Tool.BIGQUERY: _bigquery,
}
