"""The command ``python -m hashcenters.report``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hashcenters.report.markdown import to_markdown
from hashcenters.report.page import to_html
from hashcenters.report.records import collect

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the runs' folders and write the page.

    Args:
        arguments: the command line; None takes the program's own.

    Raises:
        SystemExit: wrong arguments, or a file that cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hashcenters.report", description="Put runs side by side, and beside the paper's numbers."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="HTML page to write [report.html]")
    parser.add_argument("--markdown", type=Path, help="markdown file to write")
    options = parser.parse_args(arguments)
    runs = collect(options.runs)
    if not any(run.config or run.metrics for run in runs):
        raise SystemExit(f"none of these is the folder of a run: {', '.join(map(str, options.runs))}")
    texts = {options.out: to_html(runs)}
    if options.markdown is not None:
        texts[options.markdown] = to_markdown(runs)
    for path, text in texts.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SystemExit(
                f"{path} could not be written ({error.strerror or error}); choose another place"
            ) from error
    for run in runs:
        for problem in run.problems:
            print(f"{run.folder}: {problem}")
    print(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in {', '.join(map(str, texts))}")


if __name__ == "__main__":
    main()
