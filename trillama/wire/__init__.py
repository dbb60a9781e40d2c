"""Words: the shapes that cross the wire, one set a dialect, and pure translation of them."""
