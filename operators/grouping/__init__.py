"""Which vectors belong together: near-duplicates, clusters, and words for them."""
