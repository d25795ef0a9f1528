"""LangChain's retriever over a lake.

LangChain's two LanceDB stores can open such a table, but not show it: `langchain-lancedb` 0.1 and
`langchain-community` 0.4, which is being sunset, return metadata only from a column of that name, so neither asset nor
locator; fail on a segment without text; and read the newest version of the table instead of the one that the catalog
pins.
"""

from __future__ import annotations

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import SkipValidation

from pipelines.integrations.live import LiveSearch


class LangchainRetriever(BaseRetriever):  # type: ignore[misc]
    """Documents for words; `pipelines.integrations.langchain_retriever` makes it."""

    search: SkipValidation[LiveSearch]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [
            Document(id=found.segment_id, page_content=found.text, metadata=found.metadata)
            for found in self.search.search(query)
        ]
