"""The audit log's tree: rows sealed into one Merkle tree, signed checkpoints, proofs, and the look that finds what was changed."""
