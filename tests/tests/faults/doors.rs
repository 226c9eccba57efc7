//! Doors that the library doesn't watch are refused or said, and symbols that a libc may lack don't matter.
