//! Descriptor numbers: ours don't show, and a number in other hands is never written through.
