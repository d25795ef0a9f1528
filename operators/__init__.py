"""One batch of work each, on plain Arrow tables: nothing here imports ray."""
