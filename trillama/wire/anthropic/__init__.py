"""The Anthropic dialect: structs of its requests, pure translation to and from neutral words."""
