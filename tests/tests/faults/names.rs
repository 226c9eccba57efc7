//! Files by their names: globs, bytes that are no UTF-8, calls by path, one inode by two names.
