"""Networks: one file for each library, all behind `Network`."""
