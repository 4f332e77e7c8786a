"""The model families of this package: one module each, whose FAMILY is a `checkpoints.families.ModelFamily`. A new
module here is a new family; nothing else lists them."""
