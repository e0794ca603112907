//! Single rules of the machine, each by name.
