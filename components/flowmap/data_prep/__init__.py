"""Data preparation: from a source of images to four disjoint, validated splits."""
