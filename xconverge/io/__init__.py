"""Stores, and the files of other tools."""
