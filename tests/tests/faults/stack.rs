//! How much stack a hook needs, on every path: programs on alternate stacks, smallest threads, clone children.
