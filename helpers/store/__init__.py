"""What is particular to stores: their figures."""
