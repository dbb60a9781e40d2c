"""Creating models: from another model, from GGUF files, and the layers around them.

``Recipe`` says what is wanted, ``create`` makes it. Statuses, layer order and bytes are Ollama's
(server/create.go), so that equal recipes give equal digests in both programs.
"""

from .build import create
from .recipe import Info, Recipe, recipe_of_modelfile

__all__ = ["Info", "Recipe", "create", "recipe_of_modelfile"]
