"""Several runs on one page: a self-contained HTML file to read in a browser, and a markdown table.

``python -m hashcenters.report RUN... [--out report.html] [--markdown report.md]`` writes them.
"""

from hashcenters.report.markdown import to_markdown
from hashcenters.report.page import to_html
from hashcenters.report.paper import PAPER_MAP
from hashcenters.report.records import RunRecord, collect

__all__ = ["PAPER_MAP", "RunRecord", "collect", "to_html", "to_markdown"]
