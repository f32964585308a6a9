"""Directories of plain files with a manifest, kept once under their digest in an object store."""
