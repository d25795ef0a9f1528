"""Runs that are killed at random instants, and the check that nothing of them is lost or doubled."""
