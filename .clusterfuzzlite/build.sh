#!/bin/bash -eu
# One fuzzer for each target: a file that fuzzes it, its libraries packed beside, and its seeds.

python3 -m pip install -c constraints.txt '.[export,cpu]' --group dev
export PYTHONPATH=$PWD
python3 -m tests.fuzz.run --list | while read -r target; do
    file=fuzz_${target//-/_}.py
    printf 'from tests.fuzz.run import fuzz_with_arguments\n\nfuzz_with_arguments("%s")\n' "$target" >"$file"
    compile_python_fuzzer "$file"
    python3 -m tests.fuzz.run "$target" --write-seeds "seeds/$target"
    (cd "seeds/$target" && zip -q "$OUT/fuzz_${target//-/_}_seed_corpus.zip" ./*)
done
