"""Language: messages to prompts, and generated text back to its parts."""
