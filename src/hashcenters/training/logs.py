"""What a run says of every epoch: a line of JSON, and curves in TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hashcenters.training.files import write_atomically

__all__ = ["TensorBoardLog", "write_log"]


def write_log(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write the log: a JSON object a line, an epoch each. The whole file, so that a restart leaves no line twice.

    Args:
        path: file to write.
        records: the epochs, of plain values.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records).encode())


class TensorBoardLog:
    """Curves for TensorBoard; needs the package ``tensorboard``.

    Args:
        folder: where to write.
        first_epoch: what an interrupted run had written from this epoch on is hidden.

    Raises:
        ImportError: ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise ImportError(
                f'{error}; curves for TensorBoard need it: pip install "hashcenters[training]"', name=error.name
            ) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=first_epoch)

    def add(self, record: dict[str, Any]) -> None:
        """Add the numbers of an epoch.

        Args:
            record: with "epoch"; numbers, or dictionaries of them.
        """
        for name, value in record.items():
            for part, number in value.items() if isinstance(value, dict) else [("", value)]:
                if name != "epoch" and isinstance(number, int | float):
                    self._writer.add_scalar(f"{name}/{part}" if part else name, number, record["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
