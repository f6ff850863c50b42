"""The cache outside of the workers: the LMDB environment, who writes it, how it is kept small."""
