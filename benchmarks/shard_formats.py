"""Libraries that read records of shards by index, on records like ours: which is fast, small and steady?

    pip install array_record litdata pylance zstandard
    python benchmarks/shard_formats.py [lance array_record litdata] [--records 20000]

Each library gets the same made-up windows (a noisy hand-sized surface in 16-bit counts, zstd), writes them into shards,
and reads batches of 64 in random order. Prints records a second of one process (wall clock and processor), KB a record,
and the memory that reading added. None of these libraries is needed but the one that dor3d uses.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import zstandard

_BATCH = 64
_READ = 12_800
Read = Callable[[Sequence[int]], list[bytes]]


def record(i: int) -> bytes:
    """A window of some 350 x 350 counts with a surface in the middle third, packed."""
    rng = np.random.default_rng(i % 256)
    counts = np.zeros((350, 350), np.uint16)
    v, u = np.mgrid[:350, :350]
    hand = (u - 175) ** 2 + (v - 175) ** 2 < 110**2
    counts[hand] = (700 + 0.2 * u + rng.normal(0, 2, (350, 350)))[hand]
    counts[0, 0] = i % 60_000
    return zstandard.ZstdCompressor(level=3).compress(counts.tobytes())


def lance(folder: Path, count: int) -> Read:
    import lance
    import pyarrow as pa

    schema = pa.schema([("r", pa.large_binary())])

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, count, 256):
            rows = [record(i) for i in range(start, min(count, start + 256))]
            yield pa.record_batch([pa.array(rows, pa.large_binary())], schema=schema)

    lance.write_dataset(batches(), str(folder / "x.lance"), schema=schema)
    dataset = lance.dataset(str(folder / "x.lance"))
    return lambda indices: dataset.take(list(indices))["r"].to_pylist()


def array_record(folder: Path, count: int) -> Read:
    from array_record.python.array_record_data_source import ArrayRecordDataSource
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(folder / "x.array_record"), "group_size:1,uncompressed")
    for i in range(count):
        writer.write(record(i))
    writer.close()
    return ArrayRecordDataSource([str(folder / "x.array_record")]).__getitems__


def litdata(folder: Path, count: int) -> Read:
    from litdata import StreamingDataset
    from litdata.streaming.cache import Cache

    cache = Cache(str(folder), chunk_bytes="64MB")
    for i in range(count):
        cache[i] = {"r": record(i)}
    cache.done()
    cache.merge(1)
    dataset = StreamingDataset(str(folder))
    return lambda indices: [dataset[i]["r"] for i in indices]


FORMATS = {"lance": lance, "array_record": array_record, "litdata": litdata}


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def measure(name: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        read = FORMATS[name](Path(folder), count)
        written = count / (time.perf_counter() - start)
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / count / 1e3
        order = np.random.default_rng(0).integers(0, count, _READ)
        unpack = zstandard.ZstdDecompressor()
        before, wall, cpu = memory_mb(), time.perf_counter(), time.process_time()
        for start_at in range(0, _READ, _BATCH):
            for packed in read(order[start_at : start_at + _BATCH].tolist()):
                np.frombuffer(unpack.decompress(packed), np.uint16)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        added = memory_mb() - before
    print(
        f"{name}: {_READ / wall:.0f} records/s, {_READ / cpu:.0f} a CPU second, {size:.1f} KB a record, "
        f"{added:.0f} MB more memory, written at {written:.0f}/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.formats[0], args.records)
        return
    for name in args.formats:  # each in a process of its own, so that memory is told apart
        subprocess.run([sys.executable, __file__, name, "--records", str(args.records), "--one"], check=False)


if __name__ == "__main__":
    main()
