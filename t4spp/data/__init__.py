"""Samples as the model sees them: templates, conversations, order."""
