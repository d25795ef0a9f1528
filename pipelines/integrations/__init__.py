"""Retrievers over a lake for the frameworks that ask for one; each framework is an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.storage import Storage
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipelines.integrations.langchain import LangchainRetriever
    from pipelines.integrations.llamaindex import LlamaIndexRetriever


def langchain_retriever(
    lake: str,
    corpus: str | None = None,
    model: str | None = None,
    width: int | None = None,
    k: int = 10,
    where: str | None = None,
    storage: Storage = Storage(),
) -> LangchainRetriever:
    """A LangChain retriever of a corpus' best segments for words.

    A segment becomes a `Document`: its text (empty where it has none, such as an image), its segment id, and as
    metadata its other columns without vectors and nulls, with `score` (cosine), `where` and `source`, the URI.

    Args:
        lake: its URI.
        corpus: which, when there are several.
        model: the folder of a local model; the name of a shipped one, or one of a hub, is in the lake.
        width: an MRL width of the lake, the full one when None.
        k: how many segments.
        where: SQL over the table's columns.
        storage: how to reach the lake.

    Raises:
        UsageError: LangChain is not installed, or the lake has no such width.
        LakeError: there is no such lake or corpus.
        ModelError: the model cannot be loaded, or did not make the vectors.
    """
    try:
        from pipelines.integrations.langchain import LangchainRetriever
    except ImportError as error:
        raise _missing("LangChain", "langchain", error) from error
    from pipelines.integrations.live import LiveSearch

    return LangchainRetriever(search=LiveSearch(lake, corpus, model, width, k, where, storage))


def llamaindex_retriever(
    lake: str,
    corpus: str | None = None,
    model: str | None = None,
    width: int | None = None,
    k: int = 10,
    where: str | None = None,
    storage: Storage = Storage(),
) -> LlamaIndexRetriever:
    """A LlamaIndex retriever of a corpus' best segments for words; as `langchain_retriever`, with nodes and scores.

    Raises:
        UsageError: LlamaIndex is not installed, or the lake has no such width.
        LakeError: there is no such lake or corpus.
        ModelError: the model cannot be loaded, or did not make the vectors.
    """
    try:
        from pipelines.integrations.llamaindex import LlamaIndexRetriever
    except ImportError as error:
        raise _missing("LlamaIndex", "llamaindex", error) from error
    from pipelines.integrations.live import LiveSearch

    return LlamaIndexRetriever(LiveSearch(lake, corpus, model, width, k, where, storage))


def _missing(name: str, extra: str, error: ImportError) -> UsageError:
    return UsageError(f"{name} is not installed ({error}): pip install 'embedlake[{extra}]'")
