//! Wires the modules in the order of the flow.
