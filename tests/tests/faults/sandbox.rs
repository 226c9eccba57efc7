//! Sandboxes: what worked bare under a seccomp filter, or after rights were given up, works fenced.
