"""Text in, batches out: corpora, tokenizers, shards on disk, batches by (seed, step)."""
