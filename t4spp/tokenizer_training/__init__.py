"""Trains mask tokenizers: config, masks from recipes, networks in torch, loop, measures."""
