//! Throughput of the sequence stages; one "item" is one nt, so items/s reads as nt/s.

fn main() {
    divan::main();
}
