//! Waits for kernel::linux.
fn main() {}
