#!/bin/sh
# A quarter of an hour on a GPU: tests and benches first, then trainings as far as the time goes.
#
#     sh examples/gpu_session.sh OUT PEOPLE
#
# PEOPLE is a folder with the sets stanford40, sports22, ccp, yoga5, lsp, lspet, human, har and
# sports100 (docs/research/people.md). Everything is kept in OUT: what each step printed,
# its exit code (124: cut off by its limit) and seconds in OUT/steps.tsv, plots, trained models.
# MINUTES (15) limits the whole. A step that is done is not repeated: run it again to go on.
set -u
if [ $# -ne 2 ]; then
    echo "usage: sh examples/gpu_session.sh OUT PEOPLE" >&2
    exit 2
fi
out=$1 people=$2
mkdir -p "$out"
end=$(($(date +%s) + 60 * ${MINUTES:-15}))

# step NAME SECONDS COMMAND...: runs it for at most so long, and never beyond the end.
step() {
    name=$1 limit=$2
    shift 2
    left=$((end - $(date +%s) - 10))
    [ "$limit" -lt "$left" ] || limit=$left
    if [ -e "$out/$name.done" ] || [ "$limit" -lt 20 ]; then
        return
    fi
    begin=$(date +%s)
    timeout "$limit" "$@" > "$out/$name.txt" 2>&1
    code=$?
    printf '%s\t%s\t%s\n' "$name" "$code" "$(($(date +%s) - begin))" | tee -a "$out/steps.tsv"
    [ "$code" -ne 0 ] || touch "$out/$name.done"
}

step device 30 nvidia-smi
step tests 180 pytest -n 0 -q -m "" -k cuda
step speed 180 gatedpose bench --peers --device cuda --batch 1 --batch 32 --seconds 0.5 \
    --roofline --plot "$out/speed.png"
step pipeline 60 gatedpose bench gated_hg_1s_68 gated_hg_4s_144 --pipeline --mode optimized --device cuda \
    --batch 32
step training 60 python examples/benchmark_training.py --model gated_hg_2s_128 --batch-size 64 \
    --steps 30
step train_4s_256 600 gatedpose train gated_hg_4s_256 --recipe people \
    --init people --lr 1e-3 --set warmup=60 --set augmentation.rotate=0.4 \
    --set augmentation.half_body=0.18 --set whole=0.12 --set datasets.own:lsp=12 \
    --set datasets.own:lspet=1.2 \
    --phase 256,60000,32,1.5 --precision bf16 \
    --data "own:stanford40=$people/stanford40" --data "own:sports22=$people/sports22" \
    --data "own:ccp=$people/ccp" --data "own:yoga5=$people/yoga5" --data "own:lsp=$people/lsp" \
    --data "own:lspet=$people/lspet" --data "own:human=$people/human" \
    --data "own:har=$people/har" --data "own:sports100=$people/sports100" \
    --resume --out "$out/gated_hg_4s_256"
