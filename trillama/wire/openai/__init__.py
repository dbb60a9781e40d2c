"""The OpenAI dialect: structs of its requests, and pure translation to and from neutral words."""
