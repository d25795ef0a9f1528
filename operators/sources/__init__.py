"""Sources: prefixes, single objects and manifests, as one listing of assets."""
