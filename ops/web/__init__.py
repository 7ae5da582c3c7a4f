"""The operator's web side: for now the status document and the metrics, for machines to read."""
