"""The version of this code, which also runs where nothing was installed (a copied folder on PYTHONPATH)."""

VERSION = "0.1.0"
