"""Labelled measures, one topic a file."""
