"""Logs that other programs wrote, one file a format: runs whose metrics have our names where they mean ours."""
