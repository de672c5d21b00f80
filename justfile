# Everything CI runs, exactly.
check:
    .ci/run

# The example of the README.
example:
    cargo run --release -- predict examples/contigs.fasta -o out

# Makes examples/contigs.fasta anew.
contigs:
    cargo run -p virnucpro-seq --example synthetic_contigs > examples/contigs.fasta

# All benchmarks; the numbers go into BENCHMARKS.md with this command.
bench:
    cargo bench --workspace

# Licences, sources and advisories of the dependencies (needs cargo-deny).
deny:
    cargo deny check
