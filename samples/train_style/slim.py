"""Takes out of a TorchScript archive what is only there for debugging: it names files of the machine that made it."""

import os
from pathlib import Path

import torch

# The writer adds these itself.
OWN = {"version", "byteorder", ".data/serialization_id"}


def slim(path: Path) -> None:
    unfinished = path.with_name(f"{path.name}.new")
    reader = torch._C.PyTorchFileReader(str(path))
    writer = torch._C.PyTorchFileWriter(str(unfinished))
    for name in reader.get_all_records():
        if name not in OWN and not name.endswith(".debug_pkl"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    os.replace(unfinished, path)
