"""Measures Tallystick beside its peers and beside PostgreSQL itself, on one server in one run."""
