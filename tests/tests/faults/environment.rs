//! What the environment does to us: limits, pipes for files, a table's path that somebody has planted.
