//! haldane
fn main() {}
