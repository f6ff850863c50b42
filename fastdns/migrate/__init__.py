"""Configurations of other resolvers to ours: what is alike, and a reason for each other line."""
