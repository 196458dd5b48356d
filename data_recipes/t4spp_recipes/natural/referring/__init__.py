"""Referring and reasoning segmentation of photographs, one recipe a dataset."""
