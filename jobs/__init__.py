"""Entry points: the command line, its displays, and the demo."""
