"""The corpus, data sets and tokenizer that this package ships, and the code that writes them: see `generate`."""
