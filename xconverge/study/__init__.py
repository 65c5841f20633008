"""What one does with measures: bins, modulation, binned RSA, the whole analysis."""
