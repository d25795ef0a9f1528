"""The words everyone else uses: Arrow schemas, typed config, model cards, errors. No I/O."""
