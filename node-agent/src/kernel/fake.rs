//! A kernel that interprets changes by the kernel's rules.
