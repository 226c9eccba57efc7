//! What exists and wasn't seen being made: mappings of constructors, of vfork children; children of other rights.
