//! Direct I/O: what the kernel grants and refuses, what falls back and where to, how long a call may wait.
