"""LlamaIndex's retriever over a lake.

`llama-index-vector-stores-lancedb` 0.6 cannot read such a table: it makes nodes from columns `id`, `doc_id` and
`metadata` of its own layout, and raises where a row has none.
"""

from __future__ import annotations

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from pipelines.integrations.live import LiveSearch


class LlamaIndexRetriever(BaseRetriever):  # type: ignore[misc]
    """Nodes for words; `pipelines.integrations.llamaindex_retriever` makes it."""

    def __init__(self, search: LiveSearch) -> None:
        super().__init__()
        self._search = search

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(
                node=TextNode(id_=found.segment_id, text=found.text, metadata=found.metadata),
                score=found.score,
            )
            for found in self._search.search(query_bundle.query_str)
        ]
