"""The commands, a file each: thin over `pipelines`; heavy libraries are imported inside them."""
