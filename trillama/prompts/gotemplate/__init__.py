"""Go's text/template, as the templates of models use it."""
