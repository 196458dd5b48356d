"""Predictions that other systems wrote: readers of their files, and their scores."""
