"""Retrieval quality: metrics with confidence intervals, baselines beside the model, widths beside the full one."""
