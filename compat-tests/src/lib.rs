//! Black-box tests: one scenario, two servers.
