"""The words that tell a cluster's texts from the others'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WORDS = 3
_VOCABULARY = 50_000
_CHARACTERS = 2000
_LEAST = 2
"""A word of one segment alone says nothing of a cluster."""
_WORD = r"(?u)\b[^\W\d_]{3,}\b"


def labels(texts: Sequence[str], clusters: npt.NDArray[np.int32], k: int) -> list[str | None]:
    """Up to three words for each of `k` clusters, the most distinctive first; None where no word fits.

    Class-based tf-idf (Grootendorst, BERTopic, 2022) over the segments that hold a word, so that one that repeats it
    counts once. English stop words are left out.

    Args:
        texts: of some segments; of a long one the beginning counts.
        clusters: of the same segments, int32 `[len(texts)]`.
        k: how many clusters there are.
    """
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(binary=True, stop_words="english", token_pattern=_WORD, max_features=_VOCABULARY)
    try:
        holds = words.fit_transform(text[:_CHARACTERS] for text in texts)
    except ValueError:  # no text has a word
        return [None] * k
    rows = np.arange(len(texts))
    members = csr_array((np.ones(len(rows)), (clusters, rows)), shape=(k, len(rows)))
    inside = csr_array(members @ holds)
    weight = np.log1p(len(texts) / np.asarray(holds.sum(axis=0)).ravel())
    names = words.get_feature_names_out()
    found: list[str | None] = []
    for cluster in range(k):
        start, end = inside.indptr[cluster : cluster + 2]
        counts, columns = inside.data[start:end], inside.indices[start:end]
        scores = np.where(counts >= _LEAST, counts * weight[columns], 0)
        # By score, then by name: the vocabulary is sorted.
        best = [i for i in np.lexsort((columns, -scores))[:_WORDS] if scores[i] > 0]
        found.append(", ".join(names[columns[i]] for i in best) or None)
    return found
