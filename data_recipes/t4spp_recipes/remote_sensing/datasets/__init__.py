"""Published remote-sensing datasets, each a recipe of its own."""
