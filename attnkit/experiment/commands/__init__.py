"""The groups of commands, one a file; each file has `add(groups)`, which declares its commands."""
