"""The lake: the catalog's log, Lance tables committed once, and the receipts of what was staged."""
