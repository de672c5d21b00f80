#!/usr/bin/env bash
# Everything that a GPU has to show, in one run: proofs first, then the sanitizers, then speed beside the
# peers. For a machine with an NVIDIA GPU, CUDA's compute-sanitizer, and a Python with PyTorch and
# transformers; needs no Rust.
#
#     [COMPUTE_SANITIZER=...] bench/gpu/measure.sh PROGRAM TESTS OUT [STEP ...]
#
# PROGRAM is the release binary, TESTS a folder with the test binaries gpu_operations, gpu_slots, gpu_runner
# and gpu_full_depth, OUT a folder for logs, timelines and tables. Steps: proof sanitizer start speed peers;
# all of them if none is named, which takes more than ten minutes.
#
# COMPUTE_SANITIZER leads to NVIDIA's tool, if not that of the path is meant. racecheck of CUDA 13.0 (2025.3)
# ends with an internal error on matrix kernels of Hopper: on ours, and on those of cuBLASLt even when it is to
# look at no kernel. That of 13.5 (2026.4, in the package nvidia-cuda-sanitizer-api of PyPI) does not, but says
# nothing of what matrix units read or the copy engine writes too early: for that, results are repeated and
# compared (gpu_operations, bench/kernel_lab).
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

# The kernels that are ours, by their sources; NVIDIA's own matrix kernels are not for us to check.
kernels=$(grep -h -A 1 '__global__ void' crates/backend/src/cuda/kernels/*.cu | grep -oE '\b[a-z0-9_]+\(' |
    grep -v -e '^__' -e '^name' | tr -d '(' | sort -u)
# Made by a macro, one for each type of stored weights.
ours=(--kernel-name kns=fold_)
for kernel in $kernels; do ours+=(--kernel-name "kne=$kernel"); done

for step in $steps; do
    say "$step"
    case $step in
        proof)
            "$program" devices
            beside selftest 90 "$program" selftest --device cuda -- \
                operations 90 "$tests/gpu_operations" -- \
                slots 60 "$tests/gpu_slots" --test-threads 1 -- \
                full_depth 200 "$tests/gpu_full_depth" --test-threads 1 --nocapture
            # Alone, because one of them fills the memory.
            beside runner 120 "$tests/gpu_runner" --test-threads 1
            grep 'max |diff|' "$out/full_depth.txt"
            ;;
        sanitizer)
            sanitize=("${COMPUTE_SANITIZER:-compute-sanitizer}" --error-exitcode 9)
            "${sanitize[0]}" --version | tail -n 1
            beside memcheck 150 "${sanitize[@]}" --tool memcheck "$program" selftest --device cuda -- \
                memcheck_runner 150 "${sanitize[@]}" --tool memcheck "$tests/gpu_runner" slots overflow -- \
                memcheck_slots 200 "${sanitize[@]}" --tool memcheck "$tests/gpu_slots" --test-threads 1
            # What this chip runs, all at once as it takes minutes, and what others run.
            race=("${sanitize[@]}" --tool racecheck "${ours[@]}")
            echo "racecheck of fold_*" $kernels
            beside racecheck_f16 400 "${race[@]}" "$program" selftest --device cuda --precision f16 -- \
                racecheck_bf16 400 "${race[@]}" "$program" selftest --device cuda --precision bf16 -- \
                racecheck_f32 400 "${race[@]}" "$program" selftest --device cuda --precision f32 -- \
                racecheck_apart 400 "${race[@]}" \
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
