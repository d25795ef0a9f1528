"""Office files, read with the libraries of `embedlake[office]`."""
