#!/usr/bin/env bash
# Everything that a GPU has to show, in one run: proofs first, then the sanitizers, then speed beside the
# peers. For a machine with an NVIDIA GPU, CUDA's compute-sanitizer, and a Python with PyTorch and
# transformers; needs no Rust.
#
#     bench/gpu/measure.sh PROGRAM TESTS OUT [STEP ...]
#
# PROGRAM is the release binary, TESTS a folder with the test binaries gpu_operations, gpu_runner and
# gpu_full_depth, OUT a folder for logs, timelines and tables. Steps: proof sanitizer start speed peers;
# all of them if none is named, which takes more than ten minutes.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

program=$1 tests=$2 out=$3
shift 3
steps=${*:-proof sanitizer start speed peers}
mkdir -p "$out"
export VIRNUCPRO_TEST_GPU=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

failed=0

say() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }

# Runs commands side by side: NAME SECONDS COMMAND..., separated by `--`. Only they are waited for.
beside() {
    local pids=() name limit command
    while (($#)); do
        name=$1 limit=$2
        shift 2
        command=()
        while (($#)) && [[ $1 != -- ]]; do command+=("$1"); shift; done
        if (($#)); then shift; fi
        (
            timeout "$limit" "${command[@]}" >"$out/$name.txt" 2>&1
            status=$?
            printf '%s: exit status %d; %s\n' "$name" $status "$(tail -n 1 "$out/$name.txt")"
            # What a sanitizer or a test says of its first findings.
            if ((status)); then grep -E -A 3 '^=========|panicked|missed' "$out/$name.txt" | head -n 40; fi
            exit $status
        ) &
        pids+=($!)
    done
    local pid
    for pid in "${pids[@]}"; do
        wait "$pid" || failed=1
    done
}

# The kernels that are ours; NVIDIA's own matrix kernels are not for us to check. Those of linear layers
# are left out and not launched: racecheck of CUDA 13.0 ends with an internal error on them. Their races are
# looked for by repeating them (gpu_operations, bench/kernel_lab).
ours=()
for kernel in attention attention_resident gelu gated_gelu layer_norm mean_pool first_token widen_rows \
    embed dropout_scale rotary rotary_table convert_f32 convert_f16 convert_bf16 fold_f32 fold_f16 \
    fold_bf16; do
    ours+=(--kernel-name "kne=$kernel")
done

for step in $steps; do
    say "$step"
    case $step in
        proof)
            "$program" devices
            beside selftest 90 "$program" selftest --device cuda -- \
                operations 90 "$tests/gpu_operations" -- \
                full_depth 200 "$tests/gpu_full_depth" --test-threads 1 --nocapture
            # Alone, because one of them fills the memory.
            beside runner 120 "$tests/gpu_runner" --test-threads 1
            grep 'max |diff|' "$out/full_depth.txt"
            ;;
        sanitizer)
            sanitize=(compute-sanitizer --error-exitcode 9)
            compute-sanitizer --version | tail -n 1
            beside memcheck 150 "${sanitize[@]}" --tool memcheck "$program" selftest --device cuda -- \
                memcheck_runner 150 "${sanitize[@]}" --tool memcheck "$tests/gpu_runner" slots overflow
            # Alone, so that whatever it says is about these kernels.
            beside racecheck 150 "${sanitize[@]}" --tool racecheck "${ours[@]}" \
                "$tests/gpu_operations" --exact gpu_operations_apart_match_twin
            ;;
        start)
            cache=$(mktemp -d)
            for state in cold warm; do
                TIMEFORMAT="$state start: %R s"
                time "$program" predict examples/contigs.fasta -o "$cache/out" --device cuda \
                    --cuda-cache "$cache/kernels" --quiet
            done
            ls -l "$program"
            rm -rf "$cache"
            ;;
        speed)
            for model in esm2-3b esm2-650m esm2-8m dnabert-s; do
                for lengths in fixed:168 fixed:52 proteome; do
                    timeout 90 "$program" bench --device cuda --model "$model" --lengths "$lengths" \
                        --trace "$out/trace_${model}_${lengths/:/_}.json" 2>&1
                done
            done
            ;;
        peers)
            python3 bench/peers/side_by_side.py --virnucpro "$program" --out "$out/side_by_side.json"
            ;;
        *)
            echo "no step is called $step" >&2
            exit 2
            ;;
    esac
done
exit $failed
