"""The model families of this package: one module each, whose FAMILY is a `checkpoints.families.ModelFamily`, or
whose FAMILIES are several that belong together. A new
module here is a new family; nothing else lists them."""
