"""Training of the project's own models: data from packages by name, losses, stages, soup."""
