"""Ground floor: frozen nouns everyone shares; imports nothing else of trillama."""
