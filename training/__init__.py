"""How the bundled model `tiny` is made: corpus, tokenizer, training, export, evaluation."""
