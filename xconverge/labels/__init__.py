"""The data model: variables, checks, joins, and the words of errors."""
