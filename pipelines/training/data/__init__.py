"""Training and evaluation data, made from distribution packages by name; licences are in `sources`."""
