#!/usr/bin/env bash
# Makes the runs and the pictures of docs/gallery.md from nothing: `cargo xtask gallery`.
#
# About an hour on two cores, most of it training; what is there is not made again, so that it may be stopped at any time
# and started once more. RELIEF_GALLERY is where everything goes, RELIEF_FASHION_MNIST the four files of Fashion-MNIST,
# which Debian's package dataset-fashion-mnist installs where they are looked for.
set -euo pipefail

out="${RELIEF_GALLERY:-target/gallery}"
images="${RELIEF_FASHION_MNIST:-/usr/share/datasets/fashion-mnist}"
relief="${RELIEF_TEST_PROGRAMS:?names the folder of the programs, as cargo xtask does}/relief"
export RELIEF_ENDPOINT="${RELIEF_ENDPOINT:-http://127.0.0.1:7474}"

for file in {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz; do
    if [[ ! -f "$images/$file" ]]; then
        echo "$images/$file is missing; install dataset-fashion-mnist, or say with RELIEF_FASHION_MNIST where it is" >&2
        exit 2
    fi
done
mkdir -p "$out"
if "$relief" dataset list > /dev/null 2>&1; then
    echo "a server answers at $RELIEF_ENDPOINT already; stop it, or name another address with RELIEF_ENDPOINT" >&2
    exit 2
fi
"$relief" up --data "$out/data" --listen "${RELIEF_ENDPOINT#http://}" 2> "$out/up.log" &
server=$!
trap 'kill "$server"; wait "$server" || true' EXIT
for _ in {1..100}; do
    "$relief" dataset list > "$out/datasets.txt" 2> /dev/null && break
    kill -0 "$server" || { tail "$out/up.log" >&2; exit 1; }
    sleep 0.2
done
"$relief" dataset list > "$out/datasets.txt"

# first COUNT SPLIT: the first images and labels of a split, as files of the same form.
first() {
    local count=$1 split=$2 size
    for kind in images-idx3:16:784 labels-idx1:8:1; do
        IFS=: read -r name header size <<< "$kind"
        (
            set +o pipefail
            gunzip -c "$images/$split-$name-ubyte.gz" | head -c 4
            printf '%b' "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' 0 0 $((count / 256)) $((count % 256)))"
            gunzip -c "$images/$split-$name-ubyte.gz" | head -c "$header" | tail -c +9
            gunzip -c "$images/$split-$name-ubyte.gz" | tail -c +$((header + 1)) | head -c $((count * size))
        ) > "$out/$split-$count-$name"
    done
}
# import NAME SPLIT COUNT IMAGES LABELS: a split, unless it is there with so many images.
import() {
    local column=4
    [[ $2 == test ]] && column=5
    if ! awk -v name="datasets/$1" -v column="$column" -v count="$3" '
        $1 == name && $column == count { found = 1 } END { exit !found }' "$out/datasets.txt"; then
        "$relief" dataset import "$1" --format idx "$4" "$5" --split "$2"
    fi
}
first 2000 train
first 1000 t10k
import fashion train 60000 "$images"/train-{images-idx3,labels-idx1}-ubyte.gz
import fashion test 10000 "$images"/t10k-{images-idx3,labels-idx1}-ubyte.gz
import fashion2k train 2000 "$out"/train-2000-{images-idx3,labels-idx1}
import fashion2k test 1000 "$out"/t10k-1000-{images-idx3,labels-idx1}

# train NETWORK DATASET BATCH RATE: a run of 30 epochs, unless there is one; the figures find it by these.
train() {
    local file="$out/$1-$2-$3.run"
    if ! { [[ -s "$file" ]] && "$relief" run get "$(cat "$file")" | grep -q '^state *succeeded'; }; then
        "$relief" train --network "$1" --dataset "$2" --batch "$3" --rate "$4" --epochs 30 --milestones 20 \
            --watch > "$file"
    fi
}
train lenet5 fashion 32 0.02
train lenet5 fashion 1000 0.02
train resnet20 fashion2k 32 0.05
train resnet20 fashion2k 1000 0.05
train resnet20_noshort fashion2k 32 0.05

# figure FILE NAME [FLAG]...: one of the paper's figures of these runs.
figure() {
    local file=$1 name=$2
    shift 2
    "$relief" figure "$name" "$@" --weight-decays 5e-4 --out "$out/$file.svg"
}
lenet5=(--dataset fashion --networks lenet5)
both=(--batches 32,1000)
figure lenet-training training "${lenet5[@]}" "${both[@]}"
figure lenet-weights weights "${lenet5[@]}" "${both[@]}"
figure lenet-paths paths "${lenet5[@]}" "${both[@]}" --limit 2000 --grid 31x31
figure lenet-random-planes random-planes "${lenet5[@]}" --batches 32 --limit 2000 --grid 31x31
figure lenet-interpolation interpolation "${lenet5[@]}" "${both[@]}" --limit 5000 --points 101
figure lenet-minima minima "${lenet5[@]}" "${both[@]}" --limit 5000 --points 101
figure lenet-normalizations normalizations "${lenet5[@]}" "${both[@]}" --limit 5000 --points 101 --log
figure lenet-minima-2d minima-2d "${lenet5[@]}" "${both[@]}" --limit 2000 --grid 41x41 --log
figure lenet-repeats repeats "${lenet5[@]}" --batches 32 --limit 2000 --points 101
figure lenet-repeats-2d repeats-2d "${lenet5[@]}" --batches 32 --limit 2000 --grid 31x31 --log

resnets=(--dataset fashion2k --networks resnet20,resnet20_noshort --batches 32)
figure resnet-training training "${resnets[@]}"
figure resnet-landscapes landscapes "${resnets[@]}" --limit 1000 --grid 31x31 --log
figure resnet-depth depth "${resnets[@]}" --limit 1000 --grid 31x31 --log
figure resnet-paths paths "${resnets[@]}" --limit 300 --grid 21x21
figure resnet-batches paths --dataset fashion2k --networks resnet20 "${both[@]}" --limit 300 --grid 21x21

"$relief" run list > "$out/runs.txt"
"$relief" trajectory list > "$out/trajectories.txt"
echo "the pictures are in $out"
