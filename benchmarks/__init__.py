"""gdfast beside its peers and beside the memory limit of the machine. Start with README.md."""
