"""Choosing stimuli and models."""
