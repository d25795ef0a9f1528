"""A corpus outside its lake: as Parquet files, and in vector databases; each time only what has changed."""
